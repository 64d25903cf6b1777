//! The paths of the guest components that the build script has built, one constant a guest.

include!(concat!(env!("OUT_DIR"), "/paths.rs"));
