//! The arguments of NVML calls as types: pointers that know how to be filled, text buffers.
//!
//! Must never dereference a pointer without having compared it with NULL, and must never touch
//! more bytes than the caller announced.

use std::ffi::{CStr, c_char};

use sim_gpu::Return;

/// What a call inside the library ends with; `Err` holds what the client gets.
pub type Outcome<T = ()> = Result<T, Return>;

/// `T *out`: where the callee puts one value.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T: Copy> Out<T> {
    /// Refuses NULL.
    ///
    /// # Errors
    /// [`Return::InvalidArgument`].
    pub fn check(self) -> Outcome {
        if self.0.is_null() { Err(Return::InvalidArgument) } else { Ok(()) }
    }

    /// Whether the caller passed NULL.
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Stores `value`.
    ///
    /// # Errors
    /// [`Return::InvalidArgument`] for NULL.
    pub fn put(self, value: T) -> Outcome {
        self.check()?;
        #[expect(unsafe_code, reason = "the C ABI answers through pointers")]
        // SAFETY: not NULL (checked above); NVML's contract makes the caller pass room for one T;
        // an unaligned write asks for no alignment.
        unsafe {
            self.0.write_unaligned(value);
        }
        Ok(())
    }

    /// Stores `value` where the caller wants it; NULL means it does not.
    pub fn put_if_wanted(self, value: T) {
        if !self.is_null() {
            let _stored = self.put(value);
        }
    }

    /// Reads what the caller put there.
    ///
    /// # Errors
    /// [`Return::InvalidArgument`] for NULL.
    pub fn get(self) -> Outcome<T> {
        self.check()?;
        #[expect(unsafe_code, reason = "the C ABI passes in-out values through pointers")]
        // SAFETY: not NULL (checked above); NVML's contract makes the caller initialise in-out
        // arguments, and T is a plain C value valid for every bit pattern.
        let value = unsafe { self.0.read_unaligned() };
        Ok(value)
    }

    /// The same address as a pointer to another type: for structs whose first word is a version.
    pub const fn cast<U>(self) -> Out<U> {
        Out(self.0.cast())
    }

    /// The element `index` of an array that starts here.
    #[must_use]
    pub const fn at(self, index: usize) -> Self {
        Self(self.0.wrapping_add(index))
    }

    /// Fills an array that starts here.
    ///
    /// # Errors
    /// [`Return::InvalidArgument`] for NULL.
    pub fn fill(self, values: impl IntoIterator<Item = T>) -> Outcome {
        for (index, value) in values.into_iter().enumerate() {
            self.check()?;
            self.at(index).put(value)?;
        }
        Ok(())
    }
}

impl<T> Out<T> {
    /// Wraps a raw pointer.
    pub const fn new(pointer: *mut T) -> Self {
        Self(pointer)
    }
}

/// `const T *in`.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct In<T>(*const T);

impl<T> In<T> {
    /// Wraps a raw pointer.
    pub const fn new(pointer: *const T) -> Self {
        Self(pointer)
    }
}

impl<T: Copy> In<T> {
    /// Reads the value.
    ///
    /// # Errors
    /// [`Return::InvalidArgument`] for NULL.
    pub fn get(self) -> Outcome<T> {
        Out(self.0.cast_mut()).get()
    }

    /// Refuses NULL.
    ///
    /// # Errors
    /// [`Return::InvalidArgument`].
    pub fn check(self) -> Outcome {
        Out(self.0.cast_mut()).check()
    }
}

/// `const char *text`, ended by NUL.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Text(*const c_char);

impl Text {
    /// Wraps text that lives as long as the program.
    pub const fn new(text: &'static CStr) -> Self {
        Self(text.as_ptr())
    }

    /// NULL.
    pub const NULL: Self = Self(std::ptr::null());

    /// The text; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// [`Return::InvalidArgument`] for NULL.
    pub fn get(self) -> Outcome<String> {
        if self.0.is_null() {
            return Err(Return::InvalidArgument);
        }
        #[expect(unsafe_code, reason = "C passes text as a pointer to NUL-ended bytes")]
        // SAFETY: not NULL; NVML's contract makes the caller pass a NUL-ended string that nobody
        // changes during the call.
        let text = unsafe { CStr::from_ptr(self.0) };
        Ok(text.to_string_lossy().into_owned())
    }
}

/// `char *buffer`, whose length is another argument.
pub type Buffer = Out<c_char>;

impl Out<c_char> {
    /// Stores `text` and a NUL.
    ///
    /// # Errors
    /// [`Return::InvalidArgument`] for NULL, [`Return::InsufficientSize`] if `length` is too short.
    pub fn put_text(self, text: &str, length: u32) -> Outcome {
        self.check()?;
        if text.len() >= length as usize {
            return Err(Return::InsufficientSize);
        }
        self.fill(text.bytes().map(u8::cast_signed))?;
        self.at(text.len()).put(0)
    }
}

/// `text` in a fixed array, cut to fit with its NUL.
pub fn fixed<const N: usize>(text: &str) -> [c_char; N] {
    let mut array = [0; N];
    for (place, byte) in array.iter_mut().take(N.saturating_sub(1)).zip(text.bytes()) {
        *place = byte.cast_signed();
    }
    array
}

/// The rule of NVML's lists whose `count` is in and out: the size needed is always told; NULL or
/// too little room is refused.
///
/// # Errors
/// [`Return::InvalidArgument`] for a NULL count, [`Return::InsufficientSize`] if the list is longer
/// than the room.
pub fn put_list<T: Copy>(count: Out<u32>, array: Out<T>, values: &[T]) -> Outcome {
    let room = count.get()? as usize;
    count.put(values.len() as u32)?;
    if values.len() > room {
        return Err(Return::InsufficientSize);
    }
    if values.is_empty() {
        return Ok(());
    }
    array.check()?;
    array.fill(values.iter().copied())
}

/// The rule of NVML's lists whose `count` is only out: with NULL as array only the count is told.
///
/// # Errors
/// [`Return::InvalidArgument`] for a NULL count.
pub fn put_all<T: Copy>(count: Out<u32>, array: Out<T>, values: &[T]) -> Outcome {
    count.put(values.len() as u32)?;
    if array.is_null() {
        return Ok(());
    }
    array.fill(values.iter().copied())
}
