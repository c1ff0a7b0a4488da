//! The catalogue of failure codes: a stable word each, and the paragraph that `odibi explain` prints.
//!
//! A code that is not listed may occur at run time (a newer plugin host, say); it merely has no explanation.

/// A stable word for a kind of failure, and what is to be known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureCode {
    /// `read/missing`
    pub name: &'static str,
    /// Some sentences: what it means, why, what to do.
    pub explanation: &'static str,
}

impl From<FailureCode> for String {
    fn from(code: FailureCode) -> Self {
        code.name.to_owned()
    }
}

/// Every code that has an explanation, sorted by family.
#[must_use]
pub fn all_codes() -> &'static [FailureCode] {
    ALL
}

/// Finds the explanation of a code.
#[must_use]
pub fn explain(name: &str) -> Option<&'static FailureCode> {
    ALL.iter().find(|code| code.name == name)
}

/// Declares each code as a constant and lists it once.
macro_rules! codes {
    ($($constant:ident $name:literal $explanation:literal)+) => {
        $(
            #[doc = concat!("`", $name, "`")]
            pub const $constant: FailureCode = FailureCode { name: $name, explanation: $explanation };
        )+
        const ALL: &[FailureCode] = &[$($constant),+];
    };
}

codes! {
    READ_MISSING "read/missing"
"The path of a `read:` names nothing below the root of its connection: no such file, or a pattern that matches no file. \
An empty answer would look like an empty table, so the node fails. Check `base_path` of the connection, which is \
relative to the directory of the project file, and the spelling and case of the path."

    READ_BAD_ROW "read/bad-row"
"A row of the file cannot be understood: it has too many or too few fields, an unclosed quote, or a value that does not \
fit the type of its column. odibi never drops or repairs a row silently, so the node fails and the message names file \
and line. Correct the file, or the options `header`, `delimiter`, `quote` and `null_values` of the read."

    READ_BAD_FILE "read/bad-file"
"The file as a whole is not what `format:` says: no Parquet footer, broken compression, text that is not UTF-8, or files \
of one pattern whose columns differ. Check the format, and whether the file was written to its end."

    READ_DENIED "read/denied"
"The file exists but may not be read: permissions of the file or of a directory above it, or a path that leads out of \
the root of its connection (also through a symbolic link). Give the user that runs odibi the right to read, or move \
`base_path` up."

    READ_EMPTY "read/empty"
"The file holds nothing at all, so its columns are unknown. A CSV file needs at least its header row, a JSON lines file at \
least one object."

    READ_DUPLICATE_COLUMN "read/duplicate-column"
"Two columns of the file have the same name, so neither could be addressed. Rename one of them at its source, or read a \
CSV file with `header: false`, which numbers the columns."

    READ_SCHEMA_MISMATCH "read/schema-mismatch"
"The files that one pattern names do not have the same columns. CSV files must have the same names, in any order; Parquet \
files the same names and types. JSON lines files may differ. Read files of another shape in a node of their own."

    READ_TOO_LARGE "read/too-large"
"The input is larger than a limit of the engine: files that one pattern names, columns of a file, or bytes of one record. \
A record that is too long is often an unclosed quote."

    READ_FAILED "read/failed"
"The system or the store reported an error while reading; the cause below the message says which. Trying again may help."

    READ_NO_VERSION "read/no-version"
"The table has no version that `time_travel` asks for: the number is greater than that of the newest, or what the log knew \
of so old a version was cleaned up. Ask for another one, or leave `time_travel` out to read the newest."

    READ_UNSUPPORTED_TABLE "read/unsupported-table"
"The table uses features of its format that this version of odibi cannot read; the message names them. Reading it without \
them would give wrong rows, so the node fails. Disable the feature with the program that wrote the table, or write a copy \
without it."

    WRITE_FAILED "write/failed"
"The result could not be written to the target. What stood there before is unchanged, because a write becomes visible \
in one atomic step at its very end. The cause below the message says what the store answered."

    WRITE_DENIED "write/denied"
"The target may not be written: permissions of the file or directory, or a path that leads out of the root of its \
connection. What stood there before is unchanged. Give the user that runs odibi the right to write."

    WRITE_UNSAFE "write/unsafe"
"`odibi doctor` or `odibi validate --connect` made a new file twice, and the store let the second writer replace the \
first. Such a store cannot keep two runs apart that write at the same time. Use a store with conditional writes."

    WRITE_DISK_FULL "write/disk-full"
"There was no room left for the new file beside the old one. Both exist until the new one is published, so a replacement \
needs room for both. What stood there before is unchanged, and the unfinished file was removed. Make room and run again."

    WRITE_BAD_TARGET "write/bad-target"
"The path of the target names a directory, or a part of it is a file where a directory is needed. Choose another path, or \
move what is in the way."

    WRITE_UNSUPPORTED_TYPE "write/unsupported-type"
"The format cannot hold a column of this type; CSV, for one, has no lists, structs or maps. Write Parquet or JSON lines, or \
drop the column or turn it into text in a step before."

    WRITE_BAD_VALUE "write/bad-value"
"A value cannot be expressed in this format, a date outside the years 0 to 9999 for example. Write Parquet, or repair the \
value in a step before."

    WRITE_NULL_KEY "write/null-key"
"Rows to write have no value in a column that `keys` names, so it cannot be told which row of the target they are. Nothing was \
written. Drop or fill them in a step before, or set `null_keys` to `equal` (null is a value like any other) or `distinct` \
(such a row is always new)."

    WRITE_DUPLICATE_KEY "write/duplicate-key"
"Several rows have the same key where there may be one: in the rows to write, or in the target of an upsert. Which of them \
should stay is not for odibi to guess. Nothing was written. Use the operation `deduplicate`, or set `duplicate_keys` to `first` \
or `last`."

    WRITE_BAD_KEY "write/bad-key"
"A column that `keys` or `order_by` names does not exist in the result, or its type does not tell rows apart: floating point \
numbers that print alike may differ, and lists and structs are no keys. A date or time in CSV is no key where `date_format` \
leaves a part of it out, the year for example: it could not be read back. Nothing was written."

    WRITE_SCHEMA_MISMATCH "write/schema-mismatch"
"The rows to write do not have the columns of the target: other names, other types, or in text files another order. Nothing was \
written. Bring them in line in a step before, or overwrite the target once."

    WRITE_UNREADABLE_TARGET "write/unreadable-target"
"The mode needs what is in the target, and that cannot be read: it is damaged, half written by another program, or not in this \
format. It is never taken for empty, so nothing was written and it is as it was. Repair or move it."

    WRITE_UNSETTLED "write/unsettled"
"A run was killed at the moment it wrote the target, and another program has changed the file since. Whether the rows are in it \
cannot be told any more, and writing them might write them twice. Look at the file; overwrite it or put an older version in \
its place, and run again."

    WRITE_DUPLICATE_COLUMN "write/duplicate-column"
"Two columns of the result have the same name, so a reader could not tell them apart. Rename one of them in a step before."

    WRITE_SCHEMA "write/schema"
"The columns of the result are not those of the target: some are missing, new or of another type, or a key of `write:` names \
one that the result has not. The target is unchanged. Change the steps, or allow the change: `merge_schema` lets a table \
have new columns, `overwrite_schema` in mode overwrite gives it those of the result."

    WRITE_TOO_MANY_PARTITIONS "write/too-many-partitions"
"The columns of `partition_by` have more different values than a table should have directories, and more than a read takes files. \
Nothing was written. Partition by a column with fewer values, a day in place of a time for example, or by none."

    WRITE_CONFLICT "write/conflict"
"Other writers changed the target every time between reading it and writing it. The target holds what they wrote and \
nothing of this batch. Run it again, or let fewer runs write the same target at once."

    WRITE_UNSUPPORTED_TABLE "write/unsupported-table"
"The table forbids the write, or uses features of its format that this version of odibi cannot keep up; the message says \
which. The table is unchanged. Use another mode, change the property or the feature with the program that made the table, \
or write another table."

    STATE_DENIED "state/denied"
"What odibi remembers between runs cannot be written: permissions of the state directory or of a file in it, or a file in \
the place of the directory. Nothing was run. The directory is `.odibi` beside the project file, unless `system:` of the \
project or the variable `ODIBI_STATE_DIR` says otherwise. Where `system:` names an object store, the store refuses to read or \
write there: credentials, permissions, or a bucket that does not exist; `odibi doctor` tries it."

    STATE_LOCKED "state/locked"
"Another process has held the state for longer than odibi waits. Every change takes milliseconds, so a process hangs, or \
was stopped in the middle of a change. Find it (`odibi runs list` shows processes), and let it go on or end it. Where the state \
is on an object store, others kept changing the same document; trying again helps."

    STATE_DISK_FULL "state/disk-full"
"There was no room left for a change of the state. The change was not made, and all that was noted before is unharmed. \
Make room and run again: the next run goes on where this one stopped."

    STATE_CORRUPT "state/corrupt"
"The file `state.db` in the state directory is not what odibi wrote there, or a part of it is missing. odibi never makes a \
new one in its place by itself, because it would forget which batches were written: a run after that may append rows a \
second time. Restore the directory from a backup. Without one, look into the targets of mode `append`, then move \
`state.db`, `state.db-wal` and `state.db-shm` away; only the history of runs is lost with them besides. Where the state is on \
an object store, the same goes for the document that the message names: bring back an earlier version of it."

    STATE_NEWER "state/newer"
"The state was written by a version of odibi whose tables this version does not know. Nothing was changed. Use that \
version or a later one; the state cannot be brought back to an older one."

    STATE_NETWORK "state/network"
"The state directory is on a file system that is shared over a network. Locks do not hold there as SQLite needs them, and \
two machines would damage the state. Set `ODIBI_STATE_DIR` to a directory on a disk of this machine; data and stories may \
stay where they are."

    STATE_BAD_SETTING "state/bad-setting"
"`ODIBI_LEASE_TIMEOUT` is the time after which a run that is not heard of counts for dead, where the state is on an object \
store: a duration between `1s` and `1h`, by default `30s`. It is set for the run that holds a lease, and others go by that."

    STATE_FAILED "state/failed"
"The system or the store reported an error while the state was read or written; the cause below the message says which. What was noted \
before is unharmed. Trying again may help."

    ALERT_UNDELIVERED "alert/undelivered"
"The receiver of an alert was not reached, or answered that it cannot take it now. That never changes the outcome of a run. \
The alert is kept beside the state, tried again while the run lasts and shortly after its end, and sent when the next run \
of the project starts; `odibi alerts list` shows it and `odibi alerts flush` sends it now."

    ALERT_REFUSED "alert/refused"
"The receiver of an alert answered that it will not take it: the address is wrong, was withdrawn, or does not take this type \
of alert. It is given up, because trying again would change nothing. Check `url` and `type` of the channel with `odibi \
alerts test`, then send it with `odibi alerts flush --failed`."

    ALERT_TOO_OLD "alert/too-old"
"An alert could not be delivered for a week and was given up: who reads it then is more confused than helped. `odibi alerts \
list` shows what was given up and why."

    LINEAGE_UNDELIVERED "lineage/undelivered"
"OpenLineage events of a run could not be sent to the server that `lineage:` names, or not be added to its file. That never \
changes the outcome of a run, and the events are not kept: `odibi story export RUN events.ndjson` writes them again at any \
time. Check `url`, `endpoint` and `api_key`, or whether `file` can be written."

    TELEMETRY_UNDELIVERED "telemetry/undelivered"
"Traces or metrics of a run could not be sent to the collector that `telemetry:` or `OTEL_EXPORTER_OTLP_ENDPOINT` names. \
That never changes the outcome of a run, and they are not kept. The collector must speak OTLP over HTTP, usually on port \
4318."

    STATE_LEASE_HELD "state/lease-held"
"Another run works on this pipeline, and two at once would write over each other. The message says which run it is and \
since when. Wait for it with `--wait 10m`. A run that was killed holds nothing; one that hangs does: `--take-over` goes on \
without it. Where the state is on an object store, it takes up to half a minute until a killed run is seen to be dead; a run that \
starts meanwhile looks that long."

    STATE_LEASE_LOST "state/lease-lost"
"While this run was stopped or hung, another run has taken its pipeline over with `--take-over`. What this one would have \
written is refused from then on, so that the two do not mix. Nothing is to be done: the other run does the work. Where the state \
is on an object store, the same happens to a run that was not heard of for longer than `ODIBI_LEASE_TIMEOUT`."

    STATE_NO_RUN "state/no-run"
"No run has this id, or more than one begins with it. `odibi runs list` shows the runs of the project; `last` is the \
newest. Runs are looked for in the state of the project that `--config` names."

    INTERNAL_STATE "internal/state"
"This is a bug in odibi, in the part that remembers runs: it asked the state for something that cannot be. Please report it \
with the message, the version and the event log."

    PLUGIN_MISSING "plugin/missing"
"An operation or the component that should hold it is not there: the path under `plugins:` names no regular file, or the \
component has no operation of that name. The path is relative to the directory of the project file. \
`odibi list operations` prints every name that can be used."

    PLUGIN_NOT_A_COMPONENT "plugin/not-a-component"
"The file is not a WebAssembly component. A core module (the output of an older toolchain) is not enough: plugins are \
built for the target `wasm32-wasip2`, which makes components."

    PLUGIN_DENIED_IMPORT "plugin/denied-import"
"The component wants to import something that plugins are not given: files, network, processes or anything else outside \
the world `odibi:node/transform`. A plugin computes over columns and reaches nothing else. Usually a dependency of the \
plugin pulls the import in; the message names it, and `odibi plugin inspect` lists all that it imports."

    PLUGIN_INTERFACE_VERSION "plugin/interface-version"
"The component was built against a version of the plugin interface that this odibi does not speak. Build the plugin again \
with the SDK of this odibi, or use an odibi that speaks its version."

    PLUGIN_BAD_MANIFEST "plugin/bad-manifest"
"What the component says of itself in `describe` cannot be used: not JSON, too large or too deep, a required key is \
missing, or two operations share a name. This is a fault of the plugin; its author acts."

    PLUGIN_COMPILE_FAILED "plugin/compile-failed"
"The component could not be compiled to machine code: it is damaged, or uses a WebAssembly feature that is switched off \
here. The cause below the message is the compiler's. Download or build it again."

    PLUGIN_COMPILER_CRASHED "plugin/compiler-crashed"
"The compiler crashed on the component, or was killed by the system, or returned something that is not machine code. It \
works in a process of its own, so nothing else was harmed. If the machine did not run out of memory, this is a bug in \
odibi: please report it together with the component."

    GUEST_PARAMS "guest/params"
"The operation refuses its params. The message is the plugin's own and the place is the line of the YAML with the value \
to blame. `odibi show OPERATION` prints the params, their types and examples."

    GUEST_SCHEMA "guest/schema"
"The operation cannot work on the columns that it was offered: a column it needs is missing or has another type. The \
columns are those that the step before puts out. Check the steps in front of it, or convert the column first."

    GUEST_DATA "guest/data"
"The operation met values that it cannot process, and it was not told to tolerate them. The message is the plugin's own. \
The owner of the data acts, or a step in front repairs or removes the values. `on_row_error: quarantine` sets the rows aside \
and goes on with the others."

    GUEST_FAILED "guest/failed"
"The operation reports a defect of its own. The same input will fail again, so odibi does not try again. Report it to the \
author of the plugin with the version and digest that the story names."

    GUEST_DENIED "guest/denied"
"The operation asked for something that the project does not grant it, and it cannot go on without."

    GUEST_TRANSIENT "guest/transient"
"The operation reports that something was unavailable for a moment. odibi tries again as the retry policy allows; this \
failure is what remained after the last attempt."

    TRAP_UNREACHABLE "trap/unreachable"
"The plugin crashed: it ran into an instruction that must not be reached, which is how a panic or a failed assertion ends \
inside WebAssembly. The panic message, where the plugin printed one, stands among its notes in the story. Host, other \
nodes and the target are unharmed. The author of the plugin acts."

    TRAP_STACK_OVERFLOW "trap/stack-overflow"
"The plugin used up its stack, nearly always by recursion without end or over very deep data. Host, other nodes and the \
target are unharmed. The author of the plugin acts."

    TRAP_MEMORY_OUT_OF_BOUNDS "trap/memory-out-of-bounds"
"The plugin reached for memory outside its sandbox and was stopped. Nothing outside was read or changed. The author of \
the plugin acts; if you do not trust the plugin, take it as a warning."

    TRAP_EXIT "trap/exit"
"The plugin tried to end the process. Inside the sandbox that ends the instance and fails the node. The author of the \
plugin returns a failure instead."

    TRAP_OTHER "trap/other"
"The plugin crashed in a way without a code of its own: a division by zero, a wrong indirect call and the like. Host, \
other nodes and the target are unharmed. The author of the plugin acts."

    LIMIT_GUEST_MEMORY "limit/guest-memory"
"One instance of the plugin asked for more memory than it may have. The limit stands in the message and in the story \
beside the peak. Give the step fewer or smaller rows to hold at a time, or more memory with `limits: {memory: …}`."

    LIMIT_RUN_MEMORY "limit/run-memory"
"The run has no memory left for the plugin: `--memory` bounds what the plugins of all nodes hold together with what the data \
engine reserves for sorts and repartitions. Give it more, or run fewer nodes at once with `--workers`."

    LIMIT_GUEST_CPU "limit/guest-cpu"
"One call into the plugin computed for longer than it may. An endless loop ends this way. If the work is honest but heavy, \
give the step less to do for each row, split it, or set `limits: {cpu: …}` on the node or its plugin."

    LIMIT_GUEST_WALL "limit/guest-wall"
"One call into the plugin did not return in time, counted on the wall clock. An endless loop ends this way, and so does \
honest work on a machine that is badly overloaded."

    LIMIT_BATCH_OUTPUT "limit/batch-output"
"The plugin emitted one batch with more bytes or rows than a batch may have, or whose repeated values (of a dictionary, of \
views) would come to too many once written out. Its author emits several smaller ones."

    LIMIT_OUTPUT "limit/output"
"The plugin emitted more bytes in one call than it may. This is how a decompression bomb or an unintended cross product \
shows: check whether a join multiplies rows."

    LIMIT_EMITS "limit/emits"
"The plugin called `emit` more often than it may during one call. Its author collects rows into larger batches."

    LIMIT_PLAN_SIZE "limit/plan-size"
"What the plugin answered to `plan` or `describe` is larger than it may be: too many columns, names that are too long, or \
too much opaque state. Its author keeps the state small; data belongs to the data path."

    LIMIT_PLAN_COLUMNS "limit/plan-columns"
"The operation plans more columns than a table may have. Select fewer columns in front of it, or have it make fewer."

    LIMIT_GUEST_TABLE "limit/guest-table"
"The plugin wanted to grow a table of functions beyond its limit, which honest code hardly ever does. The author of the \
plugin acts."

    LIMIT_BATCH_ROWS "limit/batch-rows"
"The plugin emitted one batch with more rows than a batch may have. Rows are counted beside bytes, because a column of \
nulls takes no bytes. The author of the plugin emits smaller batches."

    LIMIT_OUTPUT_ROWS "limit/output-rows"
"The plugin emitted more rows in one call than it may. This is how an unintended cross product shows: check whether a \
join multiplies rows."

    LIMIT_COMPONENT "limit/component"
"The file of the plugin is larger than a component may be. Build it in release mode, without debug information."

    LIMIT_RANDOM "limit/random"
"The plugin asked for more random bytes at once than it may have. The author of the plugin acts."

    LIMIT_TABLE "limit/table"
"A table that has to be held whole, a lookup or the output of one node that several others read, is larger than may be \
held. Make it smaller in front (fewer columns, fewer rows), or write it and read it back."

    LIMIT_INSTANCES "limit/instances"
"More plugin instances would be needed at the same time than this process may have. Run fewer nodes side by side with \
`--workers`."

    LIMIT_COMPILE_CPU "limit/compile-cpu"
"Compiling the component took more CPU time than it may: 30 seconds, and 4 more for each MiB of the component. Honest code \
takes about one second for each MiB, and up to two and a half on a slow machine. Build the plugin in release mode; generated \
code with one function of enormous size is what its author looks for. A component that is made to keep the compiler busy \
ends this way."

    LIMIT_COMPILE_MEMORY "limit/compile-memory"
"Compiling the component took more memory than it may, 4 GiB. Honest code takes 40 to 70 MiB for each MiB of the component. \
One function of enormous size, with very many variables and branches, is what its author looks for."

    LIMIT_COMPILE_WALL "limit/compile-wall"
"Compiling the component did not end in time, counted on the wall clock: 5 minutes, and 5 more as often as it got at least \
10 seconds of CPU time in the last 5. So it got next to none: the machine was very busy with something else, or stood \
still. Run it again."

    LIMIT_COMPILE_OUTPUT "limit/compile-output"
"The machine code of the component is larger than it may be, 512 MiB. Honest code grows to two or three times its size. The \
author of the plugin acts."

    CONTRACT_IPC "contract/ipc"
"The plugin handed over bytes that are not a valid Arrow IPC message: damaged, compressed, with offsets or lengths that \
leave the buffer, text that is not UTF-8, a decimal beyond its precision, or a time that no calendar has. Every byte is checked before it becomes a value, so nothing of it got \
through. The author of the plugin acts."

    CONTRACT_ABI "contract/abi"
"The plugin handed over values that do not fit the types of the interface: text that is not UTF-8, a pointer outside its \
memory, an unknown variant. Nothing of it got through. The author of the plugin builds it with the SDK."

    CONTRACT_SCHEMA "contract/schema"
"The plugin emitted columns that differ from those it promised in `plan`, or a null in a column it promised to be free of \
nulls. The author of the plugin acts."

    CONTRACT_ROWS "contract/rows"
"The plugin emitted rows that do not fit the way it says they relate to the input: `same-rows` with another number of \
rows, `picked` with an index past the end, or `kept` with a bitmap that is not that of the batch: too short, too long, or \
with bits past the last row. The author of the plugin acts."

    CONTRACT_PORT "contract/port"
"The plugin emitted to an output that it does not have, or at a moment when it must not emit. The author of the plugin \
acts."

    CONTRACT_PLAN "contract/plan"
"What the plugin answered to `plan` contradicts itself or the schemas it was offered: an index past the end, a column that \
passes through with another type, the wrong number of inputs. The author of the plugin acts."

    QUARANTINE_TOO_MANY "quarantine/too-many"
"More rows would go to the quarantine, or more tries would be needed to find them, than odibi allows for one batch or one \
node. So many bad rows are usually no bad rows: a wrong param, a changed source, or a defect of the plugin. Nothing was \
published. The causes say how far the search came and what the step said."

    QUARANTINE_HELD_ROWS "quarantine/held-rows"
"The operation says that it keeps no state between batches, and yet put out rows when its input had ended, after another of \
its instances had failed. What that instance held is lost, so the result would lack rows that nobody rejected. Nothing was \
published. The author of the plugin declares `single` or `per-partition`."

    RUN_CANCELLED "run/cancelled"
"The run was asked to stop, by Ctrl-C or a signal. Nodes that were running stopped between two batches and left their \
targets as they were; nodes that had not started were not started."

    RUN_UPSTREAM_FAILED "run/upstream-failed"
"The node was not tried because a node that it depends on, directly or through others, did not succeed. The message names \
it. Nodes that do not depend on it ran as usual."

    RUN_PANIC "run/panic"
"This is a bug in odibi: a part of it panicked while it ran this node. The panic was caught at the border of the node, so \
that other nodes went on. Please report it with the message, the version and the story."

    RUN_TIMEOUT "run/timeout"
"An attempt of this node took longer than the node's `timeout`, and was stopped between two batches. Its target is as it \
was. The node is tried again when its `retry` says so."

    RUN_FAILED_FAST "run/failed-fast"
"The node was not tried because another one failed whose `on_error` is `fail_fast`: after such a failure no further node \
starts. The message names it."

    RUN_STUCK "run/stuck"
"This is a bug in odibi: the plan holds a node whose dependencies can never be met, which loading the project should have \
refused. Please report it with the project's configuration."

    CAPTURE_NOT_WRITTEN "capture/not-written"
"A failure of a plugin could not be recorded below the directory of `--capture-failures`: it cannot be made or written, or \
there is no room. The run itself goes on as without recording. Name another directory."

    CAPTURE_TOO_LARGE "capture/too-large"
"A failure of a plugin was not recorded, because the batches that its session was given take more than the limit. An \
operation with state needs all of them to fail again. Record it on a part of the data that still fails."

    CAPTURE_TOO_MANY "capture/too-many"
"A step failed so often in one run that further failures are not recorded: retries, and the search for failing rows, repeat \
the same failure. The first ones are there."

    CAPTURE_REFUSED "capture/refused"
"A failure of a plugin was not recorded, because a capsule holds the rows that the plugin was given and columns among them \
may not be kept. The failure itself is reported as usual."

    REPLAY_MISSING "replay/missing"
"The file given to `odibi plugin replay` cannot be read. It is a capsule that `odibi run --capture-failures DIR` wrote; its \
name stands among the hints of the failure."

    REPLAY_DAMAGED "replay/damaged"
"The file given to `odibi plugin replay` is no whole capsule: it is something else, was cut short or changed after it was \
written, or holds bytes that are no sound batches. Copy it again from where it was recorded, or record the failure again."

    REPLAY_VERSION "replay/version"
"The capsule was recorded by a newer odibi whose format this one does not read. Its header names the version of odibi; replay \
it with that one or a later one."

    REPLAY_NO_PLUGIN "replay/no-plugin"
"The component that failed was not found: none that comes with odibi has the recorded digest, and there is no file at the \
recorded path. A capsule holds no code. Name the file of the component with `--plugin`."

    REPLAY_OTHER_PLUGIN "replay/other-plugin"
"The component that was found is another than the one that failed, as their digests show; another version may fail in \
another way or not at all. Name the recorded one with `--plugin`, or say `--any-version` to see what this one does, for \
example to prove that a repair works."

    REPLAY_OTHER_COLUMNS "replay/other-columns"
"Another version of the plugin asks for a column that the recorded one did not need. A capsule holds only the columns that \
entered the sandbox, so this version cannot be replayed. Run the pipeline with it instead."

    CLI_NO_PROJECT "cli/no-project"
"The project file that the command line names is not there or cannot be read, or the directory holds none of the names that \
odibi looks for: `odibi.yaml`, `odibi.yml`, `project.yaml`, `project.yml`. Name the file, or go to its directory."

    CLI_BAD_ENCODING "cli/bad-encoding"
"The project file holds bytes that are not UTF-8. The message says at which byte; an editor that saves as UTF-8 mends it. \
Names and values in other encodings cannot be shown or compared safely."

    STORY_UNREADABLE "story/unreadable"
"A file that should be the JSON of a story cannot be read: it was cut off, edited, or written by a newer odibi. The file \
is left as it is. Run odibi in the version that wrote it, or remove the file."

    STORY_NO_RUN "story/no-run"
"No story, or more than one, belongs to the run that was named. A run is named by its id or by the beginning of it; \
`odibi story list` shows those that are there."

    STORY_NO_SECTION "story/no-section"
"The project file has no section `story:`, so nothing is known of where stories are. Add it, with a connection."

    STORY_NO_FORM "story/no-form"
"`odibi story export` takes the form from the ending of the file: `.html`, `.md`, `.json`, `.txt`, or `.ndjson` for \
OpenLineage events."

    STORY_RETENTION_REFUSED "story/retention-refused"
"Stories that `retention_days` and `retention_count` do not keep were not removed, because something looks wrong: the \
clock shows a time before the newest story, or more than a fifth of the stories (and more than five) would go at once. \
Nothing is lost by that. `odibi story prune --dry-run` lists them, `odibi story prune --yes` removes them."

    RUN_STATE_DIRECTORY "run/state-directory"
"odibi cannot write the directory where it keeps the event log and scratch files of its runs: `.odibi` beside the project \
file, or what `ODIBI_STATE_DIR` names. Make it writable, or name another."

    RESOURCES_MEMORY "resources/memory"
"Sorting or repartitioning needs more memory than the run may use, and spilling to disk did not suffice. Run fewer nodes \
side by side with `--workers`, or give the run more memory with `--memory`."

    PRIVACY_UNKNOWN_COLUMN "privacy/unknown-column"
"`sensitive`, `columns` or `declassify` of the node names a column that neither its inputs have nor any of its steps makes. \
A slip in the name would leave the column that was meant unprotected, so the node fails before it writes anything. Correct \
the name. A field of a struct is named with the column before it: `person.email`."

    PRIVACY_NO_COLUMNS "privacy/no-columns"
"`privacy: {method: …}` changes the values of personal columns, and the result of the node has none: no column is marked \
`pii: true` in the node or comes unchanged from one that is marked so before. Writing the rows as they are would be the \
opposite of what was asked for. Mark the columns, or remove `method`."

    RESOURCES_DISK "resources/disk"
"The scratch directory is full or cannot be used. It holds what does not fit into memory and the outputs of nodes that \
other nodes read. Make room, or name a state directory on another disk in `ODIBI_STATE_DIR`."

    RESOURCES_COMPILER "resources/compiler"
"Plugins are compiled in a process of its own, which odibi starts from its own program file. It could not be started, or it \
could not limit itself. The cause below the message says why: the program file was removed or replaced while odibi was \
running, or the system refused another process. Start odibi again, or raise the limit of processes."

    RESOURCES_THREADS "resources/threads"
"The system refused to start another thread. Raise its limit of processes, or run fewer nodes side by side with \
`--workers`."

    ENGINE_BAD_PLAN "engine/bad-plan"
"What the operation answered to `plan` contradicts what it was offered: a column or a port that does not exist. The author \
of the plugin acts."

    ENGINE_BAD_OUTPUT "engine/bad-output"
"A step put out a table whose columns are not those that it planned. The author of the plugin acts."

    ENGINE_INTERNAL "engine/internal"
"This is a bug in odibi, in the part that reads, moves and writes data. Please report it with the message, the version and \
the event log."

    INTERNAL_SANDBOX "internal/sandbox"
"This is a bug in odibi, in the part that runs plugins: the sandbox could not be set up. Please report it with the message, \
the version and the event log."

    INTERNAL_ENGINE "internal/engine"
"This is a bug in odibi, in the part that runs plugins: the WebAssembly engine refused its settings or this machine. Please \
report it with the message, the version and the kind of machine."

    INTERNAL_SESSION "internal/session"
"This is a bug in odibi, in the part that runs plugins: a session with a plugin was used in the wrong order. Please report \
it with the message, the version and the event log."

    INTERNAL_ENCODE "internal/encode"
"This is a bug in odibi, in the part that runs plugins: a batch could not be encoded for a plugin. Please report it with \
the message, the version and the event log."

    INTERNAL_ATTACH "internal/attach"
"This is a bug in odibi, in the part that runs plugins: columns that a plugin passes through could not be put back. Please \
report it with the message, the version and the event log."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_family_slash_words() {
        let mut seen = std::collections::BTreeSet::new();
        for code in all_codes() {
            assert!(seen.insert(code.name), "twice: {}", code.name);
            let (family, word) = code.name.split_once('/').expect(code.name);
            for part in [family, word] {
                let fits =
                    !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '-');
                assert!(fits, "{}", code.name);
            }
        }
        assert!(seen.len() > 60);
    }

    #[test]
    fn explanations_are_paragraphs() {
        for code in all_codes() {
            assert!(code.explanation.len() > 90, "{}", code.name);
            assert!(code.explanation.ends_with('.'), "{}", code.name);
            assert!(
                !code.explanation.contains("  "),
                "stray spaces: {}",
                code.name
            );
            assert!(!code.explanation.contains('\n'), "{}", code.name);
        }
    }

    #[test]
    fn explain_finds_known_codes_only() {
        assert_eq!(explain("read/missing"), Some(&READ_MISSING));
        assert_eq!(explain("read/unheard-of"), None);
        assert_eq!(String::from(RUN_PANIC), "run/panic");
    }
}
