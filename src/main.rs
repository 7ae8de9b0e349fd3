#![doc = "The farebox command."]
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    farebox::cli::main()
}
