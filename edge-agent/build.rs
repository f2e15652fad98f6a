// The same as for `forewarn`.
include!("../build.rs");
