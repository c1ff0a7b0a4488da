//! Every limit of the engine, with its unit and why it is what it is.

/// Memory for sorts and repartitioning of all nodes together; what is beyond spills to disk.
pub const MEMORY_BYTES_DEFAULT: u64 = 512 * 1024 * 1024;
/// One part in so many of that is never reserved for sorts, so that guests can start when a sort has taken all it could get.
pub const MEMORY_GUESTS_SHARE: u64 = 4;
/// Rows of a batch, unless told otherwise.
pub const BATCH_ROWS_DEFAULT: usize = 32_768;
/// Rows of a batch at most: above it a batch leaves the caches without making anything cheaper.
pub const BATCH_ROWS_MAX: usize = 65_536;
/// Batches with fewer rows are put together before they enter a sandbox.
pub const BATCH_ROWS_MIN: usize = 4_096;
/// Arrow bytes of a batch that enters a sandbox; a bigger one is cut. One row may be bigger.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Text bytes collected for one batch while decoding CSV or JSON lines.
pub const DECODE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one CSV record or one JSON line. An unclosed quote would swallow the whole file otherwise.
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Characters kept of a row that cannot be understood.
pub const BAD_ROW_CHARS_MAX: usize = 4_096;
/// A compressed file may grow this many times when it is unpacked; text of people grows 3 to 30 times.
pub const UNPACKED_RATIO_MAX: u64 = 200;
/// Up to so many unpacked bytes the ratio does not matter: small files of one repeated value grow far more.
pub const UNPACKED_FREE_BYTES: u64 = 64 * 1024 * 1024;
/// Unpacked bytes of one compressed file. They are streamed; this bounds time and disk.
pub const UNPACKED_BYTES_MAX: u64 = 1 << 40;
/// Largest window of a Zstandard frame as a power of two: what a decoder holds. 27 is what the library allows by itself.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Bytes of one block of an Avro file or of one message of an Arrow file, unpacked: they are held as a whole.
pub const BLOCK_BYTES_MAX: u64 = 1 << 30;
/// Rows of one message of an Arrow file: columns of nulls take no bytes, so their number says nothing of memory.
pub const MESSAGE_ROWS_MAX: u64 = 1 << 31;
/// Bytes of the header of an Avro file, its schema included.
pub const AVRO_HEADER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the rows that a merge hands on at once. One column holds 2 GiB of text at most.
pub const MERGED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Columns of a file.
pub const COLUMNS_MAX: usize = 4_096;
/// Files that one pattern may name.
pub const FILES_MAX: usize = 10_000;
/// Partitions that one write may have: a read takes so many files.
pub const PARTITIONS_MAX: u64 = 10_000;
/// Files that a listing of a directory may hold.
pub const LIST_FILES_MAX: usize = 1_000_000;
/// Directories in one another that a listing goes down. Links that lead back up would never end.
pub const LIST_DEPTH_MAX: usize = 32;
/// Bytes of an object that are read at once, at least.
pub const READ_AHEAD_BYTES: u64 = 1024 * 1024;
/// The same where an object is read in order: it doubles up to here.
pub const READ_AHEAD_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Bytes of an open object that are kept: one place for each column that is read.
pub const BLOB_CACHE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A file of a web server without ranges is fetched as a whole up to this size.
pub const WHOLE_FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// An object up to this size is written in one request, a larger one in parts of it.
pub const PART_BYTES: u64 = 8 * 1024 * 1024;
/// Parts of an upload; S3 takes no more.
pub const PARTS_MAX: u64 = 10_000;
/// Parts on their way at the same time, each in memory.
pub const PARTS_AT_ONCE: usize = 4;
/// Where only one request can be conditional, a file up to this size is held in memory for it.
pub const CONDITIONAL_PUT_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Bytes of a path below a connection.
pub const PATH_BYTES_MAX: usize = 4_096;
/// Characters of a cell in a sample.
pub const SAMPLE_CELL_CHARS_MAX: usize = 256;
/// Columns of a sample, the first ones.
pub const SAMPLE_COLUMNS_MAX: usize = 200;
/// Text in a sample, in bytes; it ends with the row that goes beyond.
pub const SAMPLE_BYTES_MAX: usize = 256 << 10;
/// Columns of a result whose smallest and largest values are told, the first ones.
pub const PROFILE_COLUMNS_MAX: usize = 200;
/// Rows of a result in which equal values are counted, the first ones.
pub const PROFILE_ROWS_COUNTED: usize = 10_000;
/// Different values of a column that are counted; of one that has more, none are.
pub const PROFILE_VALUES_MAX: usize = 20;
/// The most frequent of them that are told.
pub const PROFILE_TOP_MAX: usize = 5;
/// Encoded bytes of an open Parquet row group; it is closed when it has grown beyond.
pub const ROW_GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Below this input size a partitioned step runs in one instance: starting a second one costs more than it saves.
pub const PARTITION_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// Batches between two stages.
pub const QUEUE_BATCHES: usize = 2;
/// Stack of a thread that runs a session: calls into a guest need 4 MiB, Arrow's recursion the rest.
pub const STACK_BYTES: usize = 8 * 1024 * 1024;
/// Notes kept for one step, over all its instances.
pub const NOTES_MAX: usize = 200;
/// Instances opened to name the rows that a node fails on: a hundred bad rows in a batch of 32,768 take about a thousand.
pub const ISOLATION_NAMING_INSTANCES_MAX: usize = 256;
/// Guest CPU time, the failed call included, within which the rows that a node fails on are named.
pub const ISOLATION_NAMING_CPU_NS_MAX: u64 = 10_000_000_000;
/// Instances opened to find the bad rows of one batch for the quarantine.
pub const ISOLATION_BATCH_INSTANCES_MAX: usize = 8_192;
/// Guest CPU time spent on finding the bad rows of one batch for the quarantine.
pub const ISOLATION_BATCH_CPU_NS_MAX: u64 = 900_000_000_000;
/// Arrow bytes that the good rows of such a batch give before the search ends: all are held until it is over.
pub const ISOLATION_BATCH_OUTPUT_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// As [`ISOLATION_BATCH_INSTANCES_MAX`], for one step of a node.
pub const ISOLATION_STEP_INSTANCES_MAX: u64 = 262_144;
/// Rows that one step of a node sets aside.
pub const QUARANTINE_ROWS_MAX: u64 = 100_000;
/// Distinct reasons that a story lists for one step.
pub const REASONS_MAX: usize = 20;
/// Characters of the reason why a row was rejected.
pub const REASON_CHARS_MAX: usize = 500;
/// Rows that a failure or a reason names by number.
pub const ROWS_NAMED_MAX: usize = 8;
/// Buckets that the rows of a step are divided into by the hash of their keys; several small ones go to one instance, and
/// one that is too large is divided again. More would make the pieces of a batch too small.
pub const BUCKETS: usize = 128;
/// A guest is assumed to need so many times the bytes of the columns it is given: the data, and hash tables over it.
pub const GUEST_FACTOR: u64 = 4;
/// One part in so many of the run's memory is for the instances of a step by key, and half of that where they sort.
pub const GUESTS_SHARE: u64 = 2;
/// One part in so many of the run's memory holds what a step by key has read; what is beyond goes to disk.
pub const BUCKETS_HELD_SHARE: u64 = 4;
/// Memory of the run that an instance has at least, before fewer of them run at a time.
pub const GUEST_BYTES_MIN: u64 = 32 * 1024 * 1024;
/// Bytes that an instance is given at least, however small the memory of the run: starting it costs more than a few rows.
pub const PARTITION_DATA_BYTES_MIN: u64 = 256 * 1024;
/// Rows of a batch in a spill file: what is read back at once for each of several readers.
pub const SPILL_BATCH_ROWS_MAX: usize = 8_192;
