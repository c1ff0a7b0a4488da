//! Planned schemas: sound ones spoilt, and ones that no sane writer would write.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_ipc::{
    BoolBuilder, DateBuilder, DateUnit, DecimalBuilder, DictionaryEncodingBuilder, DurationBuilder,
    Endianness, Field, FieldBuilder, FixedSizeBinaryBuilder, FixedSizeListBuilder,
    FloatingPointBuilder, IntBuilder, IntervalBuilder, IntervalUnit, ListBuilder, MapBuilder,
    MessageBuilder, MessageHeader, MetadataVersion, NullBuilder, Precision, SchemaBuilder,
    Struct_Builder, TimeBuilder, TimeUnit, TimestampBuilder, Type, UnionBuilder, Utf8Builder,
};
use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};
use odibi_sandbox::Limits;
use odibi_sandbox::testing::{Gate, read_schema, write_schema};

use crate::heap::peak_bytes;
use crate::message::frame;
use crate::mutate::spoil_bytes;
use crate::random::Random;
use crate::{Report, Worst, seeds};

/// Reads one spoilt or crafted schema.
pub(crate) fn one(sound: &[Vec<u8>], report: &mut Report, random: &mut Random, limits: &Limits) {
    let bytes = if random.once_in(2) {
        let mut bytes = sound[random.below(sound.len())].clone();
        let other = &sound[random.below(sound.len())];
        (0..=random.below(3)).for_each(|_| spoil_bytes(&mut bytes, other, random));
        bytes
    } else {
        crafted(random)
    };
    let read = || catch_unwind(AssertUnwindSafe(|| read_schema(&bytes, limits)));
    let (read, peak) = peak_bytes(read);
    report
        .schema_peak
        .see(peak, bytes.len(), "a planned schema");
    match read {
        Err(_) => report.wrong("a planned schema panicked"),
        Ok(Err(failure))
            if failure.class.word() == "contract" || failure.class.word() == "limit" =>
        {
            report.schemas_refused += 1;
        }
        Ok(Err(failure)) => report.wrong(&format!("a planned schema ended as {}", failure.code)),
        Ok(Ok(schema)) => {
            report.schemas_taken += 1;
            let again = write_schema(&schema).and_then(|bytes| read_schema(&bytes, limits));
            if again.ok().as_ref() != Some(&schema) {
                report.wrong(&format!(
                    "a planned schema changes when it is written: {schema:?}"
                ));
            }
            if catch_unwind(AssertUnwindSafe(|| Gate::new(&schema).is_ok())).ok() != Some(true) {
                report.wrong(&format!("no gate for a planned schema: {schema:?}"));
            }
        }
    }
}

pub(crate) fn sound() -> Vec<Vec<u8>> {
    let seeds = seeds::all();
    seeds
        .iter()
        .map(|seed| write_schema(&seed.batch.schema()).unwrap())
        .collect()
}

fn crafted(random: &mut Random) -> Vec<u8> {
    let mut fbb = FlatBufferBuilder::new();
    let count = random.pick(&[0, 1, 1, 1, 2, 3, 9]);
    let deep = random.once_in(30);
    let fields: Vec<_> = (0..count)
        .map(|_| field(&mut fbb, random, 0, deep))
        .collect();
    let fields = fbb.create_vector(&fields);
    let mut builder = SchemaBuilder::new(&mut fbb);
    if !random.once_in(30) {
        builder.add_fields(fields);
    }
    if random.once_in(30) {
        builder.add_endianness(Endianness(random.pick(&[1, 2, -1])));
    }
    let schema = builder.finish().as_union_value();
    let mut builder = MessageBuilder::new(&mut fbb);
    builder.add_version(MetadataVersion::V5);
    builder.add_header_type(MessageHeader::Schema);
    builder.add_header(schema);
    if random.once_in(30) {
        builder.add_bodyLength(random.number(0));
    }
    let root = builder.finish();
    fbb.finish(root, None);
    let mut out = Vec::new();
    frame(fbb.finished_data(), None, &mut out);
    out
}

fn field<'a>(
    fbb: &mut FlatBufferBuilder<'a>,
    random: &mut Random,
    depth: usize,
    deep: bool,
) -> WIPOffset<Field<'a>> {
    let nests = [
        Type::Struct_,
        Type::List,
        Type::LargeList,
        Type::FixedSizeList,
        Type::Map,
    ];
    let flat = if deep {
        depth > 14 + random.below(30)
    } else {
        !random.once_in(2 + depth)
    };
    let mut kind = if flat {
        Type(random.pick(&KINDS))
    } else {
        random.pick(&nests)
    };
    let table = table(fbb, kind, random);
    if random.once_in(20) {
        kind = Type(random.pick(&KINDS));
    }
    let count = match kind {
        Type::Struct_ if !deep => random.below(4),
        _ if nests.contains(&kind) => 1,
        _ => usize::from(random.once_in(20)),
    };
    let count = if random.once_in(20) {
        random.below(3)
    } else {
        count
    };
    let children: Vec<_> = if kind == Type::Map && count == 1 && !random.once_in(5) {
        vec![entries(fbb, random, depth + 1, deep)]
    } else {
        (0..count)
            .map(|_| field(fbb, random, depth + 1, deep))
            .collect()
    };
    let children = fbb.create_vector(&children);
    let long = "x".repeat(random.below(300));
    let name = random.pick(&["a", "b", "c", "d", "e", "", "ä", "a\u{1b}[31m", &long]);
    let name = fbb.create_string(name);
    let dictionary = random.once_in(8).then(|| {
        let index = (!random.once_in(4)).then(|| integer(fbb, random));
        let mut builder = DictionaryEncodingBuilder::new(fbb);
        builder.add_id(random.number(0));
        if let Some(index) = index {
            builder.add_indexType(index);
        }
        builder.finish()
    });
    let mut builder = FieldBuilder::new(fbb);
    builder.add_name(name);
    builder.add_nullable(random.once_in(2));
    builder.add_type_type(kind);
    builder.add_type_(table);
    builder.add_children(children);
    if let Some(dictionary) = dictionary {
        builder.add_dictionary(dictionary);
    }
    builder.finish()
}

/// Of a map: a struct of two.
fn entries<'a>(
    fbb: &mut FlatBufferBuilder<'a>,
    random: &mut Random,
    depth: usize,
    deep: bool,
) -> WIPOffset<Field<'a>> {
    let children = [0, 1].map(|_| field(fbb, random, depth + 1, deep));
    let children = fbb.create_vector(&children);
    let name = fbb.create_string("entries");
    let table = Struct_Builder::new(fbb).finish().as_union_value();
    let mut builder = FieldBuilder::new(fbb);
    builder.add_name(name);
    builder.add_type_type(Type::Struct_);
    builder.add_type_(table);
    builder.add_children(children);
    builder.finish()
}

/// All there are, and one that is not.
const KINDS: [u8; 27] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
    200,
];

fn integer<'a>(
    fbb: &mut FlatBufferBuilder<'a>,
    random: &mut Random,
) -> WIPOffset<arrow_ipc::Int<'a>> {
    let mut builder = IntBuilder::new(fbb);
    builder.add_bitWidth(random.pick(&[8, 16, 32, 64, 64, 0, 7, 128, -8]));
    builder.add_is_signed(random.once_in(2));
    builder.finish()
}

fn table(
    fbb: &mut FlatBufferBuilder<'_>,
    kind: Type,
    random: &mut Random,
) -> WIPOffset<UnionWIPOffset> {
    let unit = TimeUnit(random.pick(&[0, 1, 2, 3, 4, -1]));
    let size = random.pick(&[0, 1, 3, 16, 1 << 20, i32::MAX, -1]);
    match kind {
        Type::Int => integer(fbb, random).as_union_value(),
        Type::FloatingPoint => {
            let mut builder = FloatingPointBuilder::new(fbb);
            builder.add_precision(Precision(random.pick(&[0, 1, 2, 3])));
            builder.finish().as_union_value()
        }
        Type::Decimal => {
            let mut builder = DecimalBuilder::new(fbb);
            builder.add_bitWidth(random.pick(&[32, 64, 128, 256, 512, 0]));
            builder.add_precision(random.pick(&[0, 1, 9, 10, 18, 38, 76, 77, 300, -1]));
            builder.add_scale(random.pick(&[0, 1, 9, 38, 76, -1, -128, 128, i32::MIN]));
            builder.finish().as_union_value()
        }
        Type::Date => {
            let mut builder = DateBuilder::new(fbb);
            builder.add_unit(DateUnit(random.pick(&[0, 1, 2])));
            builder.finish().as_union_value()
        }
        Type::Time => {
            let mut builder = TimeBuilder::new(fbb);
            builder.add_unit(unit);
            builder.add_bitWidth(random.pick(&[32, 64, 0, 16]));
            builder.finish().as_union_value()
        }
        Type::Timestamp => {
            let zones = [
                "UTC",
                "Europe/Berlin",
                "+02:00",
                "-99:99",
                "nowhere",
                "",
                "\u{1b}",
                "+1",
            ];
            let zone = (!random.once_in(3)).then(|| fbb.create_string(random.pick(&zones)));
            let mut builder = TimestampBuilder::new(fbb);
            builder.add_unit(unit);
            if let Some(zone) = zone {
                builder.add_timezone(zone);
            }
            builder.finish().as_union_value()
        }
        Type::Interval => {
            let mut builder = IntervalBuilder::new(fbb);
            builder.add_unit(IntervalUnit(random.pick(&[0, 1, 2, 3])));
            builder.finish().as_union_value()
        }
        Type::Duration => {
            let mut builder = DurationBuilder::new(fbb);
            builder.add_unit(unit);
            builder.finish().as_union_value()
        }
        Type::FixedSizeBinary => {
            let mut builder = FixedSizeBinaryBuilder::new(fbb);
            builder.add_byteWidth(size);
            builder.finish().as_union_value()
        }
        Type::FixedSizeList => {
            let mut builder = FixedSizeListBuilder::new(fbb);
            builder.add_listSize(size);
            builder.finish().as_union_value()
        }
        Type::Map => {
            let mut builder = MapBuilder::new(fbb);
            builder.add_keysSorted(random.once_in(2));
            builder.finish().as_union_value()
        }
        Type::Null => NullBuilder::new(fbb).finish().as_union_value(),
        Type::Bool => BoolBuilder::new(fbb).finish().as_union_value(),
        Type::List => ListBuilder::new(fbb).finish().as_union_value(),
        Type::Union => UnionBuilder::new(fbb).finish().as_union_value(),
        // The tables of all other types are as empty as this one.
        _ => Utf8Builder::new(fbb).finish().as_union_value(),
    }
}

impl Worst {
    /// No more than twice the input and 1 MiB.
    pub(crate) fn is_fine(&self) -> bool {
        self.over_bytes <= 1 << 20
    }
}
