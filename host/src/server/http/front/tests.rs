//! Tests of `front`.
