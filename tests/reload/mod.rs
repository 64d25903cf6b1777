//! R1–R6, I9, I10, I12: reloads from outside.
//!
//! `CURFEW_RELOADS=100` makes the hundred reloads in a row of R2.

mod coalesce;
mod deadlines;
mod generations;
mod other_address;
mod rollback;
mod same_address;
mod shop;
mod trial;
mod unchanged;
