package loadtest

// fanOut is a job whose script takes no time: what is measured is the service alone.
func fanOut() Scenario {
	return Scenario{
		Name: "fan-out", About: "one job with an instant script on all hosts",
		Hosts: 1000, Mix: "socket", Script: "echo hello\n", do: oneJob,
	}
}
