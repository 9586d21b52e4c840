package gateway

import (
	"fmt"
	"testing"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// Why an execution hasn't ended is told as it changes, on its host's gateway and on another, though what changes is another
// execution, or the host.
func TestWatchWhy(t *testing.T) {
	onStores(t, func(t *testing.T, store queue.Store) {
		b := newBedOn(t, store, newSigner(t), nil)
		other := newBedOn(t, store, b.signer, nil)
		m := b.enroll("web-1", nil)
		first := b.submit(api.JobRequest{Script: "one", Hosts: []string{"web-1"}})
		b.inState(first.ID, "web-1", "queued")
		second := b.submit(api.JobRequest{Script: "two", Hosts: []string{"web-1"}})
		topic := "execution:" + second.ID + ".web-1"
		viewers := []*viewer{b.view(t, "socket", b.operator(), topic), other.view(t, "sse", b.operator(), topic)}
		told := func(code queue.WaitCode, behind string) {
			t.Helper()
			for i, v := range viewers {
				v.until(fmt.Sprintf("viewer %d hears %s", i, code), func() bool {
					return v.run != nil && v.run.Why != nil && v.run.Why.Code == string(code) && v.run.Why.Behind == behind && v.run.Why.Text != ""
				})
			}
		}
		told(queue.WaitNeverSeen, "")
		m.hello()
		told(queue.WaitAhead, first.ID)
		one := m.start()
		told(queue.WaitLane, first.ID)
		one.ends(0, 0)
		told(queue.WaitPoll, "")
		two := m.start()
		told(queue.WaitEnd, "")
		b.ask("POST", "/v1/jobs/"+second.ID+"/cancel", b.operator(), nil).is(200, "")
		told(queue.WaitCancel, "")
		two.ends(0, 0)
		for i, v := range viewers {
			v.until(fmt.Sprintf("viewer %d sees the end", i), func() bool { return v.run.State == "succeeded" && v.run.Why == nil })
			if v.count["snapshot"] != 1 {
				t.Errorf("viewer %d was told all of it %d times", i, v.count["snapshot"])
			}
		}
	})
}
