// Package ctl runs and watches jobs for a person: it prints the output of hosts
// as it comes, shows the progress, and gives the exit status. rexctl's verbs are
// built on it, and so is anything else that wants to behave like them.
//
//	view := ctl.View{Client: c, Out: ctl.FileTerminal(os.Stdout), Err: ctl.FileTerminal(os.Stderr)}
//	status := ctl.Finish(os.Stderr, "program", view.Run(ctx, request))
//
// # What is printed where
//
// Output of hosts goes where it went on the host: stdout to stdout, stderr to stderr. With
// several hosts, each line begins with its host, and only whole lines interleave. Everything
// else (progress, which hosts failed and why, the sum) goes to stderr.
//
// A job of few hosts is followed live. Of a job of many, each host's output is printed
// in one piece when it has ended there, so that the number of open requests is bounded.
//
// # Wording of all texts of rexctl
//
//   - The words are those of the docs: job, execution, host, operator, outstanding. A
//     state is called by its name in the API, also in sentences ("timed_out").
//   - An error says what failed, where (host, job, file, setting), and what to do about it,
//     in one sentence, without a capital at the start or a full stop at the end.
//   - Other messages are sentences. Nothing is exclaimed, nobody is thanked or blamed.
//   - A command that can be typed next stands on a line of its own, indented by two
//     spaces, complete.
//   - Help and messages of our own fit into 80 columns. Flags are named with their dashes.
//   - What comes from a host is shown through safetext, always.
package ctl
