package loadtest

// echoSleep is a job that prints, takes its time, and prints again: most hosts are in the midst of it together.
func echoSleep() Scenario {
	return Scenario{
		Name: "echo-sleep", About: "one job, `echo hello; sleep 10; echo bye`, on all hosts",
		Hosts: 1000, Mix: "socket", Script: "echo hello; sleep 10; echo bye\n", do: oneJob,
	}
}
