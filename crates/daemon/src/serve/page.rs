//! Lists a page at a time.
//!
//! Must never hand out a page without an end: a list grows with the machine.

use api::Page;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::serve::problem::Failure;

/// The most things one page holds, and how many it holds unless told.
const PAGE_MAX: u32 = 1000;
const PAGE: u32 = 100;

/// Which page of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// At most so many.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub(crate) limit: Option<u32>,
    /// The `next` of the page before.
    pub(crate) cursor: Option<String>,
}

impl Paging {
    /// How many the page holds.
    pub(crate) fn limit(&self) -> Result<u32, Failure> {
        limit(self.limit)
    }

    /// The number behind which the page begins; `None` on the first page. `list` names the list,
    /// so that a cursor of another one is refused.
    pub(crate) fn after(&self, list: &str) -> Result<Option<u64>, Failure> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let number = cursor.strip_prefix(list).and_then(|rest| rest.strip_prefix('.'));
        let number = number.and_then(|hex| u64::from_str_radix(hex, 16).ok());
        // What a database cannot hold was never handed out.
        let number = number.filter(|number| i64::try_from(*number).is_ok());
        number.map(Some).ok_or_else(|| {
            Failure::new(
                StatusCode::BAD_REQUEST,
                "E-CURSOR",
                format!("`{cursor}` is no cursor of this list"),
            )
            .hint("leave it out for the first page, then give the `next` of each answer")
        })
    }
}

/// How many things somebody who asked for `limit` gets.
pub(crate) fn limit(limit: Option<u32>) -> Result<u32, Failure> {
    match limit {
        Some(0) => Err(Failure::bad_request("limit must be more than zero")),
        other => Ok(other.unwrap_or(PAGE).min(PAGE_MAX)),
    }
}

/// The page of `items`, which has `limit` things and one more if another page follows. `number`
/// tells a thing's place in the order.
pub(crate) fn page<T>(
    list: &str,
    mut items: Vec<T>,
    limit: u32,
    number: impl Fn(&T) -> u64,
) -> Page<T> {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| more).map(|last| format!("{list}.{:x}", number(last)));
    Page { items, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_of_a_list_hold_each_thing_once() {
        let all: Vec<u64> = (1..=250).collect();
        let mut paging = Paging { limit: Some(100), cursor: None };
        let mut seen = Vec::new();
        loop {
            let limit = paging.limit().unwrap();
            let after = paging.after("things").unwrap().unwrap_or(0);
            let rest = all.iter().copied().filter(|number| *number > after);
            let found = page("things", rest.take(limit as usize + 1).collect(), limit, |n| *n);
            seen.extend(found.items);
            paging.cursor = found.next;
            if paging.cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn cursors_of_other_lists_and_inventions_are_refused() {
        for cursor in ["", "leases.1", "things.", "things.zz", "things.ffffffffffffffff"] {
            let paging = Paging { limit: None, cursor: Some(cursor.to_owned()) };
            assert!(paging.after("things").is_err(), "{cursor}");
        }
        assert_eq!(Paging::default().after("things").unwrap(), None);
    }
}
