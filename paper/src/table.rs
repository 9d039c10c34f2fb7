//! A table's text, as CSV.

use serde::{Serialize, Serializer};

/// A number with as many digits as tell it from its neighbours, and an exponent below 1e-4 and from 1e16 on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:?}", self.0))
    }
}

/// `header`, and a line for each of `rows`, with the fields of what a row holds one after the other. What is `None` is empty.
///
/// # Panics
/// If a row has more fields than the header, or fewer.
pub fn csv<R: Serialize>(header: &[&str], rows: impl IntoIterator<Item = R>) -> String {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    let expected = "memory takes every row, and the caller's rows are as long as the header";
    writer.write_record(header).expect(expected);
    rows.into_iter().for_each(|row| writer.serialize(row).expect(expected));
    String::from_utf8(writer.into_inner().expect(expected)).expect("it is made of text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_flat_and_numbers_keep_their_digits() {
        let numbers = [1.0, 0.1, 0.00012, 0.000012, 1e15, 1e16, -0.0].map(Number);
        let text = csv(&["a", "b", "c", "d", "e", "f", "g"], [numbers]);
        assert_eq!(text, "a,b,c,d,e,f,g\n1.0,0.1,0.00012,1.2e-5,1000000000000000.0,1e16,-0.0\n");
        let row = (("a comma, and a \"quote\"", 3usize), None::<Number>, [Some(Number(0.5)), None]);
        let text = csv(&["a", "b", "c", "d", "e"], [row]);
        assert_eq!(text, "a,b,c,d,e\n\"a comma, and a \"\"quote\"\"\",3,,0.5,\n");
        assert_eq!(csv(&["alone", "header"], [(); 0]), "alone,header\n");
    }
}
