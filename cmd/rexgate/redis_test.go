package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// Two gateways on one Redis, with one operators' key, are one service.
func TestTwoGatewaysOnRedis(t *testing.T) {
	redis := redistest.Start(t, "--requirepass", "p w")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("p w\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--redis", "redis://" + redis.Addr, "--redis-password-file", "password", "--operator-key", "shared.key"}
	one, two := serve(t, dir, args...), serve(t, dir, args...)
	token := runs(t, rexgate(t, dir, "token", "operator", "--operator-key", "shared.key")).out
	status, body := one.ask("POST", "/v1/tokens/enroll", token, api.EnrollTokenRequest{})
	var made api.EnrollToken
	if err := json.Unmarshal(body, &made); err != nil || status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	enroll(t, two, made.Token, "web-1")
	status, body = one.ask("POST", "/v1/jobs", token, api.JobRequest{Script: "true", Hosts: []string{"web-1"}})
	var job api.Job
	if err := json.Unmarshal(body, &job); err != nil || status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := two.ask("GET", "/v1/jobs/"+job.ID, token, nil); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if _, status := one.end(syscall.SIGTERM); status != 0 {
		t.Errorf("ended with %d", status)
	}
	if status, body := two.ask("GET", "/v1/jobs/"+job.ID, token, nil); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}
