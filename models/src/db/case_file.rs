//! SQL of case_file.
