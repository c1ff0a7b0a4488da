//! The catalogue of codes: each stable word with the paragraph that `odibi explain CODE` prints.

use super::Code;

macro_rules! catalogue {
    ($($constant:ident = $name:literal, $explanation:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $explanation)]
            pub static $constant: Code = Code { name: $name, explanation: $explanation };
        )*
        static ALL: &[&Code] = &[$(&$constant),*];
    };
}

/// Every code that this crate or the loader of plugins raises, by section.
#[must_use]
pub fn all_codes() -> &'static [&'static Code] {
    ALL
}

catalogue! {
    SYNTAX = "yaml/syntax",
        "The file is not well-formed YAML, so everything after this place is unread. The usual causes are indentation \
         that does not line up with the lines above, a tab used for indentation, a quote or bracket that is never \
         closed, and a `:` or `#` inside a text that should be in quotes. Mend the place shown and check again: further \
         faults may appear below it.";
    LIMIT = "yaml/limit",
        "A project file may be 1 MiB long, nest 32 levels deep, hold 20,000 keys and values counting every use of an \
         alias, use 100 aliases, copy 8 MiB through them, and grow by 1 MiB through variables. The limits keep a hostile file from tying up the machine; \
         projects written by people stay far below them. Split the project, or write out what the aliases repeat.";
    DUPLICATE_KEY = "yaml/duplicate-key",
        "The same key stands twice in one mapping. Many YAML readers silently keep the last, which makes the first a lie. \
         Remove one of the two. A key that overrides one merged in with `<<` is no duplicate.";
    MULTIPLE_DOCUMENTS = "yaml/multiple-documents",
        "The file holds several YAML documents, separated by `---`. A project is one document. Remove the line `---` and \
         what does not belong to the project.";
    RECURSIVE_ALIAS = "yaml/recursive-alias",
        "An alias (`*name`) stands inside the value that its anchor (`&name`) marks, so the value would contain itself. \
         Put the anchor on a value that does not contain the alias.";
    MERGE_KEY = "yaml/merge-key",
        "The merge key `<<` takes a mapping or a list of mappings, usually aliases: `<<: *defaults` or \
         `<<: [*defaults, *more]`. Keys of the mapping itself win over merged ones, and earlier members of the list win \
         over later ones. To use `<<` as an ordinary key, put it in quotes.";
    TAG = "yaml/tag",
        "The value carries a YAML tag (`!name`) that odibi does not know. Tags can make some readers include files or \
         build objects; odibi accepts only the plain ones: `!!str`, `!!int`, `!!float`, `!!bool`, `!!null`, `!!seq` and \
         `!!map`. Remove the tag.";
    BAD_KEY = "yaml/bad-key",
        "A key is a list, a mapping, empty, or missing. Keys of a project are texts. If the line begins with `{` or `[` and is meant \
         to be a text, put it in quotes.";
    AMBIGUOUS_NUMBER = "yaml/ambiguous-number",
        "A number with a leading zero means different things to different YAML readers: `010` is ten in YAML 1.2, which \
         odibi follows, and eight in YAML 1.1, which Python's PyYAML follows. Put it in quotes if it is a text such as a \
         postal code; otherwise leave out the zero, or write `0o10` for octal.";
    EMPTY_FILE = "config/empty-file",
        "The project file holds nothing but perhaps comments. The smallest project has the keys `project`, \
         `connections` and `pipelines`.";
    WRONG_TYPE = "config/wrong-type",
        "The value has another type than the key takes: for example a text where a list is wanted, or a number where \
         `true` or `false` is. The message names both. Texts that look like `true`, `null` or a number need quotes \
         where the type matters. `yes`, `no`, `on` and `off` count as true and false only where a boolean is wanted.";
    MISSING_KEY = "config/missing-key",
        "A key that has no default is missing, or has no value. The message names the key and the place shows the \
         mapping it belongs to.";
    UNKNOWN_KEY = "config/unknown-key",
        "The key means nothing at this place. It is most often misspelt or indented one level too far or not far enough. \
         Unknown keys are errors because a setting that is silently ignored is worse than none.";
    NOT_YET = "config/not-yet",
        "The key or value is known from ODIBI, but this version of odibi does not carry it out yet. It is an error and \
         not a warning because the run would do something else than the project says. Remove it to run without it.";
    IGNORED_KEY = "config/ignored-key",
        "The key is accepted so that projects written for ODIBI load, but it has no effect here: what it tunes does not \
         exist in this engine. It changes no result. Remove it to silence the warning.";
    EXCLUSIVE_KEYS = "config/exclusive-keys",
        "Two keys that exclude each other stand together, for example `read` and `inputs` of one node, or `operation` and \
         `function` of one step. Keep the one that is meant.";
    BAD_NAME = "config/bad-name",
        "Names of pipelines, nodes, connections and plugins consist of letters, digits and underscores and do not begin \
         with a digit, at most 128 characters, because they appear in file names, graphs and references.";
    BAD_VALUE = "config/bad-value",
        "The value has the right type but is not one of those that the key takes, or lies outside its range. The message \
         says what is possible.";
    BAD_PATH = "config/bad-path",
        "Paths of reads, writes and stories lie below the root of their connection. They are relative, use `/`, and hold \
         no `..`, no drive letter, no URL scheme and no control character, so that a project cannot reach files that its \
         connections do not name. Change `base_path` of the connection to reach another directory.";
    UNREADABLE_FILE = "config/unreadable-file",
        "A file that the project names cannot be used: it is not there, may not be read, is not UTF-8 text, or is larger \
         than 1 MiB. The paths of `imports` and `sql_file` are relative to the YAML file that names them, and the files lie \
         in the directory of the project or below it, also when a symbolic link is followed.";
    BAD_IMPORT = "config/bad-import",
        "A file of `imports` imports the file that imports it, directly or through others, or the project imports more than \
         64 files. Remove the import that closes the circle, or join some of the files.";
    OVERRIDDEN = "config/overridden",
        "A key is set both in a file and in one that it imports. Imports are laid over the file that names them, as in \
         ODIBI, so the imported value wins and the other has no effect. Keep one of the two; what differs from place to \
         place belongs into an environment, which wins over both.";
    UNKNOWN_ENVIRONMENT = "config/unknown-environment",
        "`--env` or the variable `ODIBI_ENV` asks for an environment that the project does not have: neither a key of \
         `environments:` nor a file `env.NAME.yaml` beside the project file. Nothing runs, because the run would use the \
         wrong connections.";
    BAD_RECIPE = "config/bad-recipe",
        "A node names a recipe that does not exist, extends itself or has no `template`, or `recipe_vars` lacks a variable that \
         the recipe requires or gives one that it does not know. Recipes are defined under `recipes:` at the top of the \
         project.";
    REFUSED_STEP = "config/refused-step",
        "The operation of a step was asked what it would do with the columns it gets, and refuses: for example because a \
         column does not exist, has the wrong type, or the SQL cannot be understood. No data was read but what tells the \
         columns: Parquet footers, and CSV and JSON files of up to 8 MiB. `odibi plan` shows the columns of each node.";
    UNSET_VARIABLE = "config/unset-variable",
        "A value refers to an environment variable (`${NAME}` or `${env:NAME}`) that is not set, or to an entry that `vars` \
         or `recipe_vars` does not have. Set the variable, in the environment or in a file `.env` beside the project, or \
         write `${NAME:-default}` to give a default for when it is unset or empty. Entries of `vars` may use those above \
         them. Write `$${` for a literal `${`.";
    BAD_SUBSTITUTION = "config/bad-substitution",
        "`${` begins a reference: `${NAME}`, `${env:NAME}`, `${NAME:-default}` or `${NAME:?message}` for an environment \
         variable, `${vars.name}`, `${date:today}`, and `${recipe.name}` inside a recipe. References do not nest. A list or \
         mapping of `vars` can only be the whole value. Write `$${` for a literal `${`.";
    MISPLACED_SECRET = "config/misplaced-secret",
        "A secret of a vault stands where a name, a path or a description is wanted, or a variable whose name tells of a \
         secret (`…TOKEN…`) where a name or a path is. Those are written to the state, to stories and to messages: they would \
         show the secret, or be `***` everywhere. Use another environment variable for what differs between environments, and \
         secrets for what opens connections, and for params. Of `alerts`, only `url`, `secret` and `headers` may hold secrets.";
    DUPLICATE_NAME = "config/duplicate-name",
        "Two pipelines, two nodes of one pipeline, or two connections have the same name, so a reference to it would be \
         ambiguous. Rename one of them.";
    UNKNOWN_CONNECTION = "config/unknown-connection",
        "A read, a write or the story names a connection that `connections:` does not define. Define it there or correct \
         the name.";
    UNKNOWN_NODE = "config/unknown-node",
        "`depends_on` or `inputs` names a node that does not exist. A bare name is looked for in the node's own pipeline; \
         `$pipeline.node` reaches into another one.";
    CYCLE = "config/cycle",
        "Nodes depend on each other in a circle, so none of them can be the first to run. The places show every \
         dependency of the circle: remove one of them.";
    SAME_TARGET = "config/same-target",
        "Two nodes write the same file, or a directory of rejected rows (`quarantine`) is used twice or lies where a file is \
         written. The result would depend on which of them finishes last. Give each its own path, or disable one with \
         `enabled: false`.";
    WRITE_MODE = "config/write-mode",
        "Keys of a write contradict each other: `keys`, `null_keys`, `duplicate_keys` and `order_by` belong to the modes \
         `upsert` and `append_once`, and a directory is no single file. A setting without effect would hide a mistake, so it is \
         an error. The hint names what to write instead; docs/write-modes.md holds a table of the modes.";
    UNSUPPORTED_WRITE = "config/unsupported-write",
        "What `write:` or `system:` asks for cannot be done at that place, whatever the data: object stores have no step in which many files \
         become visible at once, web servers take no files, and a mode that looks into its target needs a format whose rows can \
         be told apart, with a `date_format` that writes all of a date or time among the `keys`. The hint names the format, the mode or the layout that can; docs/write-modes.md holds a table.";
    UNORDERED_READ = "config/unordered-read",
        "One node reads the file, or the rejected rows, that another one writes, and neither depends on the other. Nodes without a dependency run \
         side by side, so the reader may see the file of this run or of the last one. Add the writer to `depends_on`, or \
         take its result with `inputs: {df: $pipeline.node}`.";
    NO_INPUT = "config/no-input",
        "The node has nothing to start from: no `read`, no `inputs`, and no `depends_on` whose result it could use. Add \
         one of the three.";
    UNKNOWN_OPERATION = "config/unknown-operation",
        "A step names an operation that neither odibi nor one of the project's plugins exports. Bare names are operations \
         of odibi itself; those of a plugin are written `plugin/operation`, with the key under which `plugins:` lists \
         it. `odibi list operations` prints all of them.";
    UNKNOWN_PARAM = "config/unknown-param",
        "The operation has no param of that name. `odibi show OPERATION` prints the params it takes.";
    MISSING_PARAM = "config/missing-param",
        "The operation needs a param that the step does not give. `odibi show OPERATION` prints the params it takes.";
    BAD_PARAM = "config/bad-param",
        "A param has the wrong type or a value outside what the operation accepts. Every operation describes its params \
         by a JSON Schema, and they are checked before any data is read. `odibi show OPERATION` prints them.";
    UNKNOWN_TABLE = "config/unknown-table",
        "A param of the operation names a table that the node does not have. A node can use its `inputs` by their names, \
         and the nodes in its `depends_on` by theirs.";
    BAD_LIMIT = "config/bad-limit",
        "A limit takes a size such as `256MiB` or `64KB`, a time such as `500ms`, `30s` or `5m`, or a whole number, within a \
         range that the message names. `limits` may stand at the top of the project, beside the `path` of a plugin, and on a \
         node; the nearest wins, key by key. `odibi list limits` shows every limit with its default and its range.";
    UNKNOWN_SELECTION = "config/unknown-selection",
        "The command line selects a pipeline, node or tag that the project does not have, or with a word of another kind, so nothing \
         would run for it. A node that occurs in several pipelines can be selected as `pipeline.node`.";
    UNKNOWN_SENSITIVE = "config/unknown-sensitive",
        "`sensitive`, `columns` or `declassify` names a column that the node does not have: not in its inputs, and not \
         behind any of its steps. A slip in the name would leave the column that was meant unprotected. Correct the name; \
         a field of a struct is named with the column before it, as in `person.email`.";
    TOO_MANY = "config/too-many",
        "So many faults were found that the rest is left out. Mend those shown and check again.";
    NO_SUCH_GRANT = "config/no-such-grant",
        "Plugins get their tables and nothing else, unless the project grants more. `clock` lets a plugin tell the real time \
         and `entropy` gives it real randomness. `files`, `network` and `environment` are words for what a plugin might ask \
         for one day; this version of odibi gives them to none. A component that imports them is refused. Read the files \
         with odibi and hand their rows to the plugin as a table.";
    PLUGIN_MISSING = "plugin/missing",
        "The component file of a plugin is not there or cannot be read. Its path is relative to the directory of the \
         project file.";
    PLUGIN_NOT_A_COMPONENT = "plugin/not-a-component",
        "The file of a plugin is not a WebAssembly component. A core module, as `--target wasm32-unknown-unknown` builds, \
         is not enough: build with `--target wasm32-wasip2` and the odibi SDK.";
    PLUGIN_DENIED_IMPORT = "plugin/denied-import",
        "The component imports something that a plugin may not have, such as files, the network or the environment. What \
         a plugin imports is the upper bound of what it can do, so it is refused before it runs. Build it without the \
         library that wants the import.";
    PLUGIN_INTERFACE_VERSION = "plugin/interface-version",
        "The component was built for a version of the odibi node interface that this host does not speak. Rebuild it with \
         the SDK that belongs to this version of odibi, or use the version of odibi it was built for.";
    PLUGIN_COMPILE_FAILED = "plugin/compile-failed",
        "The component could not be compiled to machine code: it is damaged, uses a WebAssembly feature that is switched \
         off here, or reached a limit of the compiler. Download or build it again.";
    PLUGIN_BAD_MANIFEST = "plugin/bad-manifest",
        "The component's description of itself cannot be used: it is no JSON, lacks a field, is larger than 1 MiB, names an \
         operation twice or gives it a name that cannot be written in YAML. This is a fault of the plugin: tell its author.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_explained() {
        let mut names: Vec<&str> = all_codes().iter().map(|c| c.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for code in all_codes() {
            let words = code.explanation.split(' ').count();
            assert!((12..=90).contains(&words), "{}: {words} words", code.name);
            assert!(code.explanation.ends_with('.'), "{}", code.name);
            assert!(!code.explanation.contains("  "), "{}", code.name);
            let (area, word) = code.name.split_once('/').unwrap_or_default();
            assert!(
                ["yaml", "config", "plugin"].contains(&area),
                "{}",
                code.name
            );
            assert!(
                word.chars().all(|c| c.is_ascii_lowercase() || c == '-'),
                "{}",
                code.name
            );
        }
    }
}
