//! What is refused, and where it stands.

use super::*;

#[test]
fn what_can_not_be_is_refused_by_place() {
    for (text, place) in [
        (
            "age,status\n4,failed\nx,failed\n",
            "lives.csv: line 3, column 1 (age): 'x' is not a number",
        ),
        (
            "age,status\n4,broken\n",
            "line 2, column 2 (status): 'broken' is neither failed nor suspended",
        ),
        (
            "age,status\n-4,suspended\n",
            "line 2, column 1 (age): -4 is not a usable age",
        ),
        ("age,status\n1e300,failed\n", "line 2, column 1 (age): 1"),
        (
            "age,status\n0,failed\n",
            "line 2, column 1 (age): 0 is not a usable age of a failure; where it failed before",
        ),
        (
            "age,status,age_to\n4,failed,3\n",
            "line 2, column 3 (age_to): 3 must be above the age 4",
        ),
        (
            "age,status,age_to\n4,failed,1e300\n",
            "line 2, column 3 (age_to): 1",
        ),
        (
            "age,status,age_to\n4,suspended,9\n",
            "line 2, column 3 (age_to): a suspension has no second age; leave it empty",
        ),
        (
            "years,status\n4,failed\n",
            "line 1: column 'age' is missing; the header must name age and status",
        ),
        (
            "age;status\n4;failed\n",
            "separated by commas, and names 'age;status'",
        ),
        (
            "age,age,status\n4,4,failed\n",
            "line 1, column 2: there is a second column 'age'; keep one",
        ),
        (
            "age,status,age_to,system\n4,failed,5,a\n",
            "line 1, column 3 (age_to): failures of repaired systems",
        ),
        (
            "age,status,system\n4,failed,\n",
            "line 2, column 3 (system): which system is it?",
        ),
        (
            "age,status,system\n4,failed,a\n3,suspended,a\n",
            "line 2, column 1 (age): the observation of this system ends at 3",
        ),
        (
            "age,status,system\n4,suspended,a\n5,suspended,a\n",
            "line 3, column 2 (status): a system is suspended once",
        ),
        (
            "age,status,system\n0,suspended,a\n",
            "line 2, column 1 (age): a system must have been observed",
        ),
        (
            "age,status,group\n4,failed,\n",
            "line 2, column 3 (group): which group is it?",
        ),
        (
            "age,status,cause\n4,failed,\n",
            "line 2, column 3 (cause): a failure needs a cause; write unknown",
        ),
        (
            "age,status,cause\n4,suspended,seal\n",
            "line 2, column 3 (cause): a suspension has no cause of failure",
        ),
        (
            "age,status,repair_h\n4,failed,-1\n",
            "line 2, column 3 (repair_h): -1 is not a usable time of a repair",
        ),
        (
            "age,status,repair_h\n4,suspended,1\n",
            "line 2, column 3 (repair_h): a suspension has no repair",
        ),
    ] {
        let error = of(text).unwrap_err().to_string();
        assert!(error.contains(place), "{error}");
    }
    let columns = |names: &[&str]| {
        of_columns("age,status,load\n4,failed,high\n", names)
            .unwrap_err()
            .to_string()
    };
    says(
        &columns(&["load"]),
        &["line 2, column 3 (load): 'high' is not a number"],
    );
    says(
        &columns(&["speed"]),
        &["line 1: column 'speed' is missing; --covariates speed asks for it"],
    );
    says(
        &columns(&["age"]),
        &["--covariates age: this column has a meaning of its own"],
    );
    let lives = of(FOUR).unwrap();
    for (args, words) in [
        (
            costs(-4.0, 10.0),
            "the cost of a planned replacement, -4: it must be above zero",
        ),
        (
            Args {
                shape: Some(1e9),
                ..Args::default()
            },
            "shapes of lives lie between 0.05 and 20",
        ),
        (
            Args {
                confidence: 1.0,
                ..Args::default()
            },
            "the confidence 1: it must be between 0 and 1",
        ),
    ] {
        says(&report(&lives, &args, None).unwrap_err().to_string(), &[words]);
    }
}
