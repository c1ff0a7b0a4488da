//! Trims and maps the case of text columns: plain, large, or behind a dictionary.

use arrow_array::cast::AsArray;
use arrow_array::{GenericStringArray, OffsetSizeTrait};
use arrow_buffer::{Buffer, OffsetBuffer};
use odibi_sdk::failure::Kind;
use odibi_sdk::prelude::*;

/// What to do with each text. Null stays null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cleaning {
    /// Take Unicode `White_Space` off both ends.
    pub(crate) trim: bool,
    /// Applied to what is left.
    pub(crate) case: Option<Case>,
}

/// Full Unicode mapping of the root locale: `ß` becomes `SS`, a final sigma stays one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Lower,
    Upper,
}

/// Whether [`clean`] takes columns of this type. A column of the null type is one: readers give it to a column in which
/// they saw no value.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    if let DataType::Dictionary(_, values) = data_type {
        return is_text(values);
    }
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Null
    )
}

/// Reads and replaces these columns, which are text; types stay.
///
/// # Errors
/// None, as the indices are the input's.
pub(crate) fn outline(input: &Schema, indices: &[usize]) -> Result<Outline> {
    let fields = indices.iter().map(|index| input.field(*index));
    let mut fields = fields.filter(|field| *field.data_type() != DataType::Null);
    fields.try_fold(Outline::of(input), |outline, field| {
        Ok(outline.read("", field.name())?.put(field.clone()))
    })
}

/// The column itself when nothing changes.
///
/// # Errors
/// The column is not text, or becomes too large for its type.
pub(crate) fn clean(column: &ArrayRef, how: Cleaning) -> Result<ArrayRef> {
    Ok(changed(column, how)?.unwrap_or_else(|| Arc::clone(column)))
}

fn changed(column: &ArrayRef, how: Cleaning) -> Result<Option<ArrayRef>> {
    if let Some(texts) = column.as_string_opt::<i32>() {
        return Ok(changed_texts(texts, how)?.map(|a| Arc::new(a) as ArrayRef));
    }
    if let Some(texts) = column.as_string_opt::<i64>() {
        return Ok(changed_texts(texts, how)?.map(|a| Arc::new(a) as ArrayRef));
    }
    match column.as_any_dictionary_opt() {
        Some(dictionary) => {
            Ok(changed(dictionary.values(), how)?.map(|values| dictionary.with_values(values)))
        }
        None => Err(Failure::internal(format!(
            "planned text, was sent: {}",
            column.data_type()
        ))),
    }
}

fn changed_texts<O: OffsetSizeTrait>(
    texts: &GenericStringArray<O>,
    how: Cleaning,
) -> Result<Option<GenericStringArray<O>>> {
    let trimmed = if how.trim { trimmed(texts)? } else { None };
    let cased = match how.case {
        Some(case) => cased(trimmed.as_ref().unwrap_or(texts), case)?,
        None => None,
    };
    Ok(cased.or(trimmed))
}

/// Slots of nulls are treated like the others: looking for them costs more.
fn trimmed<O: OffsetSizeTrait>(
    texts: &GenericStringArray<O>,
) -> Result<Option<GenericStringArray<O>>> {
    let Some(first) =
        (0..texts.len()).find(|row| trim(texts.value(*row)).len() < texts.value(*row).len())
    else {
        return Ok(None);
    };
    let before = texts.value_offsets();
    let start = before[0];
    let bytes = used_bytes(texts);
    let mut values = Vec::with_capacity(bytes.len());
    values.extend_from_slice(&bytes[..(before[first] - start).as_usize()]);
    let mut offsets: Vec<O> = Vec::with_capacity(before.len());
    offsets.extend(before[..=first].iter().map(|o| *o - start));
    for row in first..texts.len() {
        values.extend_from_slice(trim(texts.value(row)).as_bytes());
        offsets.push(O::usize_as(values.len()));
    }
    build(texts, offsets, values).map(Some)
}

fn trim(text: &str) -> &str {
    let plain = |b: &u8| b.is_ascii_graphic();
    match (text.as_bytes().first(), text.as_bytes().last()) {
        (Some(first), Some(last)) if plain(first) && plain(last) => text,
        (None, _) | (_, None) | (Some(_), Some(_)) => text.trim(),
    }
}

fn cased<O: OffsetSizeTrait>(
    texts: &GenericStringArray<O>,
    case: Case,
) -> Result<Option<GenericStringArray<O>>> {
    let bytes = used_bytes(texts);
    let before = texts.value_offsets();
    if bytes.is_ascii() {
        let other = match case {
            Case::Lower => u8::is_ascii_uppercase,
            Case::Upper => u8::is_ascii_lowercase,
        };
        if !bytes.iter().any(other) {
            return Ok(None);
        }
        let values = match case {
            Case::Lower => bytes.to_ascii_lowercase(),
            Case::Upper => bytes.to_ascii_uppercase(),
        };
        return build(
            texts,
            before.iter().map(|o| *o - before[0]).collect(),
            values,
        )
        .map(Some);
    }
    let mut values = Vec::with_capacity(bytes.len());
    let mut offsets: Vec<O> = Vec::with_capacity(before.len());
    offsets.push(O::default());
    for row in 0..texts.len() {
        push_cased(texts.value(row), case, &mut values);
        offsets.push(O::from_usize(values.len()).ok_or_else(too_large)?);
    }
    if values == bytes {
        return Ok(None);
    }
    build(texts, offsets, values).map(Some)
}

fn push_cased(text: &str, case: Case, values: &mut Vec<u8>) {
    if text.is_ascii() {
        let start = values.len();
        values.extend_from_slice(text.as_bytes());
        match case {
            Case::Lower => values[start..].make_ascii_lowercase(),
            Case::Upper => values[start..].make_ascii_uppercase(),
        }
        return;
    }
    let mapped = match case {
        Case::Lower => text.to_lowercase(),
        Case::Upper => text.to_uppercase(),
    };
    values.extend_from_slice(mapped.as_bytes());
}

/// The bytes between the first and the last offset.
fn used_bytes<O: OffsetSizeTrait>(texts: &GenericStringArray<O>) -> &[u8] {
    let offsets = texts.value_offsets();
    &texts.value_data()[offsets[0].as_usize()..offsets[texts.len()].as_usize()]
}

fn build<O: OffsetSizeTrait>(
    texts: &GenericStringArray<O>,
    offsets: Vec<O>,
    values: Vec<u8>,
) -> Result<GenericStringArray<O>> {
    let offsets = OffsetBuffer::new(offsets.into());
    Ok(GenericStringArray::try_new(
        offsets,
        Buffer::from_vec(values),
        texts.nulls().cloned(),
    )?)
}

/// The texts of one batch no longer fit the offsets of their type.
pub(crate) fn too_large() -> Failure {
    Failure::new(
        Kind::Data,
        "text-too-large",
        "the texts of one batch need more than 2 GiB",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::types::Int8Type;
    use arrow_array::{DictionaryArray, Int8Array, LargeStringArray, StringArray};

    use super::*;

    const TRIM: Cleaning = Cleaning {
        trim: true,
        case: None,
    };
    const LOWER: Cleaning = Cleaning {
        trim: false,
        case: Some(Case::Lower),
    };
    const UPPER: Cleaning = Cleaning {
        trim: false,
        case: Some(Case::Upper),
    };
    const BOTH: Cleaning = Cleaning {
        trim: true,
        case: Some(Case::Upper),
    };

    /// All three types, whole and cut out of a larger array.
    #[track_caller]
    fn check(how: Cleaning, input: &[Option<&str>], expect: &[Option<&str>]) {
        let around = [&[Some(" Ä b")], input, &[Some("Zz "), None]].concat();
        let expect_plain: ArrayRef = Arc::new(StringArray::from(expect.to_vec()));
        let expect_large: ArrayRef = Arc::new(LargeStringArray::from(expect.to_vec()));
        for (array, start) in [(input.to_vec(), 0), (around, 1)] {
            let plain: ArrayRef = Arc::new(StringArray::from(array.clone()));
            assert_eq!(
                &clean(&plain.slice(start, input.len()), how).unwrap(),
                &expect_plain
            );
            let large: ArrayRef = Arc::new(LargeStringArray::from(array.clone()));
            assert_eq!(
                &clean(&large.slice(start, input.len()), how).unwrap(),
                &expect_large
            );
            let dictionary: ArrayRef =
                Arc::new(array.into_iter().collect::<DictionaryArray<Int8Type>>());
            let output = clean(&dictionary.slice(start, input.len()), how).unwrap();
            assert_eq!(output.data_type(), dictionary.data_type());
            let texts = output
                .as_dictionary::<Int8Type>()
                .downcast_dict::<StringArray>()
                .unwrap();
            assert_eq!(texts.into_iter().collect::<Vec<_>>(), expect);
        }
    }

    #[test]
    fn white_space_is_what_unicode_says() {
        check(
            TRIM,
            &[Some("a"), Some(" a b\t"), None, Some("\r\n")],
            &[Some("a"), Some("a b"), None, Some("")],
        );
        let wide = "\u{a0}\u{2003}\u{3000}\u{85}\u{b}";
        check(
            TRIM,
            &[Some(&format!("{wide}ä🎉{wide}")), Some(wide)],
            &[Some("ä🎉"), Some("")],
        );
        // Neither a zero-width space nor a control character is white space.
        check(
            TRIM,
            &[Some("\u{200b}a\u{feff}"), Some("\u{1f}a\u{0}")],
            &[Some("\u{200b}a\u{feff}"), Some("\u{1f}a\u{0}")],
        );
        check(TRIM, &[], &[]);
        check(TRIM, &[None, None], &[None, None]);
    }

    #[test]
    fn case_is_what_unicode_says() {
        check(
            UPPER,
            &[Some("straße"), Some("ŉ ab"), None],
            &[Some("STRASSE"), Some("ʼN AB"), None],
        );
        check(
            LOWER,
            &[Some("İI"), Some("ΑΣ ΣΑΣ"), Some("E\u{301}")],
            &[Some("i\u{307}i"), Some("ας σας"), Some("e\u{301}")],
        );
        check(
            UPPER,
            &[Some("👩‍🔬 ok"), Some("ﬁ"), Some("")],
            &[Some("👩‍🔬 OK"), Some("FI"), Some("")],
        );
        check(
            UPPER,
            &[Some("plain"), None, Some("x1_")],
            &[Some("PLAIN"), None, Some("X1_")],
        );
        check(
            LOWER,
            &[Some("PLAIN"), None, Some("X1_")],
            &[Some("plain"), None, Some("x1_")],
        );
        check(LOWER, &[], &[]);
        check(
            BOTH,
            &[Some(" ß "), Some("x"), None],
            &[Some("SS"), Some("X"), None],
        );
    }

    #[test]
    fn texts_that_do_not_change_keep_their_buffers() {
        for texts in [vec!["a b", "", "x"], vec!["ä", "漢字 🎉"]] {
            let array: ArrayRef = Arc::new(StringArray::from(texts));
            for how in [
                TRIM,
                LOWER,
                Cleaning {
                    trim: true,
                    ..LOWER
                },
            ] {
                assert!(Arc::ptr_eq(&array, &clean(&array, how).unwrap()));
            }
        }
    }

    #[test]
    fn unused_and_null_dictionary_values_do_no_harm() {
        let values = StringArray::from(vec![Some(" a"), None, Some("unused ")]);
        let keys = Int8Array::from(vec![Some(0), Some(1), None, Some(0)]);
        let array: ArrayRef = Arc::new(DictionaryArray::new(keys, Arc::new(values)));
        let output = clean(&array, TRIM).unwrap();
        let texts = output
            .as_dictionary::<Int8Type>()
            .downcast_dict::<StringArray>()
            .unwrap();
        assert_eq!(
            texts.into_iter().collect::<Vec<_>>(),
            [Some("a"), None, None, Some("a")]
        );
    }

    #[test]
    fn null_slots_may_hold_anything() {
        let nulls = Some(vec![true, false].into());
        let values = Buffer::from_slice_ref(b"ok  X ");
        let array: ArrayRef = Arc::new(StringArray::new(
            OffsetBuffer::from_lengths([2, 4]),
            values,
            nulls,
        ));
        assert_eq!(
            clean(&array, BOTH).unwrap().as_ref(),
            &StringArray::from(vec![Some("OK"), None]) as &dyn Array
        );
    }
}
