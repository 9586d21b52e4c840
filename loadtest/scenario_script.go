package loadtest

// Script is one job with a script of one's own on all hosts.
func Script(script string) Scenario {
	return Scenario{
		Name: "script", About: "one job with a script of your own on all hosts",
		Hosts: 1000, Mix: "socket", Script: script, do: oneJob,
	}
}
