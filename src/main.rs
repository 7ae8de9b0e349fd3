#![doc = "The farebox command."]

fn main() -> std::process::ExitCode {
    farebox::cli::main()
}
