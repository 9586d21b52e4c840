package redistest

import (
	"context"
	"strconv"
	"testing"
	"time"
)

// await asks again and again until it is so.
func await(ctx context.Context, t testing.TB, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("redis isn't as it should be in time")
		case <-tick.C:
		}
	}
}

// caughtUp tells whether a replica has all that its master was told before.
func caughtUp(ctx context.Context, master, replica *Server) bool {
	offset := func(s *Server, field string) int64 {
		rdb := s.Client()
		defer rdb.Close()
		info, err := rdb.InfoMap(ctx, "replication").Result()
		n, e := strconv.ParseInt(info["Replication"][field], 10, 64)
		if err != nil || e != nil {
			return -1
		}
		return n
	}
	want := offset(master, "master_repl_offset")
	return want >= 0 && offset(replica, "slave_repl_offset") >= want
}

// fallBehind has a replica hear nothing of what its master does during fn, and kills the master then: what it
// acknowledged is lost to the replica, which runs on.
func fallBehind(ctx context.Context, t testing.TB, master, replica *Server, fn func()) {
	t.Helper()
	replica.Pause()
	defer replica.Resume()
	rdb := master.Client()
	defer rdb.Close()
	if err := rdb.ClientKillByFilter(ctx, "TYPE", "replica").Err(); err != nil {
		t.Fatal(err)
	}
	fn()
	master.Kill()
}
