package live

import (
	"strings"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// Topic is what a watch can be about. The zero value is the jobs.
type Topic struct {
	Job  queue.JobID  // "" = the newest jobs
	Host queue.HostID // "" = the whole job, else its execution on this host
}

// ParseTopic reads a topic as the API writes it. Errors: Invalid.
func ParseTopic(text string) (Topic, error) {
	if text == api.TopicJobs {
		return Topic{}, nil
	}
	if id, ok := strings.CutPrefix(text, api.TopicJob); ok {
		t := Topic{Job: queue.JobID(id)}
		return t, t.Job.Validate()
	}
	if id, ok := strings.CutPrefix(text, api.TopicExecution); ok {
		job, host, err := queue.ExecutionID(id).Split()
		return Topic{Job: job, Host: host}, err
	}
	return Topic{}, queue.Errorf(queue.Invalid, "topic: %.60q is none of %s, %sJOB and %sJOB.HOST", text, api.TopicJobs, api.TopicJob, api.TopicExecution)
}

func (t Topic) String() string {
	switch {
	case t.Job == "":
		return api.TopicJobs
	case t.Host == "":
		return api.TopicJob + string(t.Job)
	}
	return api.TopicExecution + string(queue.NewExecutionID(t.Job, t.Host))
}

// Kind names what the topic is of, for metrics: few values.
func (t Topic) Kind() string {
	switch {
	case t.Job == "":
		return "jobs"
	case t.Host == "":
		return "job"
	}
	return "execution"
}
