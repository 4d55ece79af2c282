//! `pvr completion`: what a shell has to read to complete `pvr`.
//!
//! The scripts know no command. They ask the program, which asks its own definitions: see `grammar::completions`.

use std::env;
use std::path::Path;

use clap::ValueEnum;

use super::failure::Failure;
use super::show;

const BASH: &str = r#"_NAME_complete() {
    local words=("${COMP_WORDS[@]:0:COMP_CWORD}") current="${COMP_WORDS[COMP_CWORD]}"
    local IFS=$'\n'
    COMPREPLY=($(compgen -W "$("${words[@]}" "$current" --generate-bash-completion 2>/dev/null)" -- "$current"))
}
complete -o bashdefault -o default -F _NAME_complete NAME
"#;

// Read as a file by `source`, or found by its name (`_pvr`) and run at the first completion: zsh does either.
const ZSH: &str = r#"#compdef NAME
_NAME_complete() {
    local -a found
    found=("${(@f)$("${(@)words[1,CURRENT-1]}" "${words[CURRENT]}" --generate-bash-completion 2>/dev/null)}")
    found=("${(@)found:#}")
    if (( ${#found} )); then compadd -- "${found[@]}"; else _files; fi
}
if [[ ${funcstack[1]} == _NAME ]]; then _NAME_complete "$@"; else compdef _NAME_complete NAME; fi
"#;

const FISH: &str = r#"function __NAME_complete
    set -l words (commandline -opc)
    $words (commandline -ct) --generate-bash-completion 2>/dev/null
end
complete -c NAME -a '(__NAME_complete)'
"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For which shell
    #[arg(value_enum, default_value = "bash")]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let own = env::args_os().next().unwrap_or_default();
    let name = Path::new(&own).file_name().map(|name| name.to_string_lossy().into_owned());
    // As `pvr-agent pvr`, it is not the program that a shell would have to complete.
    let name =
        name.filter(|name| name != "pvr-agent" && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)));
    show::print(&script(args.shell, name.as_deref().unwrap_or("pvr")))
}

fn script(shell: Shell, name: &str) -> String {
    let text = match shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
    };
    text.replace("NAME", name)
}
