//! What `--help` and the manual pages have beside the flags: groups, examples, links.

use clap::Command;

/// Adds them to the table of all commands.
pub(super) fn extend(table: Command) -> Command {
    name_arguments(table)
}

/// The lists of a command by what one of them is: `CONTAINER...` and not `CONTAINERS...`.
fn name_arguments(command: Command) -> Command {
    let named = command.mut_args(|arg| {
        let name = match arg.get_id().as_str() {
            "containers" => "CONTAINER",
            "images" => "IMAGE",
            "networks" => "NETWORK",
            "volumes" if arg.is_positional() => "VOLUME",
            "names" => "NAME|ID",
            _ => return arg,
        };
        arg.value_name(name)
    });
    named.mut_subcommands(name_arguments)
}
