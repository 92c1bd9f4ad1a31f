//! Packing against brute force, against an integer program and against the layouts.

mod small;
