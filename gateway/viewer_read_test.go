package gateway

import (
	"encoding/json"
	"strings"
)

// event is a server-sent event.
type event struct {
	kind, id, retry string
	data            []byte
}

func (v *viewer) event() (e event) {
	v.t.Helper()
	for {
		line, err := v.events.ReadString('\n')
		if err != nil {
			v.t.Fatalf("reading events: %v", err)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "":
			return e
		case "event":
			e.kind = value
		case "id":
			e.id = value
		case "retry":
			e.retry = value
		case "data":
			e.data = []byte(value)
		default:
			v.t.Fatalf("an event has %q", line)
		}
	}
}

func (v *viewer) conforms(schema string, text []byte) {
	v.t.Helper()
	var any any
	if err := json.Unmarshal(text, &any); err != nil {
		v.t.Fatalf("%v: %.300s", err, text)
	}
	if err := v.doc.Components.Schemas[schema].Value.VisitJSON(any); err != nil {
		v.t.Fatalf("not a %s: %.600v\n%.300s", schema, err, text)
	}
}
