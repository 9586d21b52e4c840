package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sentinel is a master and its replica, watched by one sentinel.
type Sentinel struct {
	Servers []*Server // the master, the replica
	URL     string    // redis+sentinel://.../main

	t     testing.TB
	watch *Server
}

// StartSentinel starts them, and returns when the replica follows its master
// and the sentinel knows it.
func StartSentinel(t testing.TB) *Sentinel {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	master := Start(t)
	host, port, _ := net.SplitHostPort(master.Addr)
	replica := Start(t, "--replicaof", host, port, "--repl-diskless-sync-delay", "0")
	g := &Sentinel{t: t, Servers: []*Server{master, replica}}
	dir := t.TempDir()
	conf := filepath.Join(dir, "sentinel.conf")
	mine := strconv.Itoa(freePort(t))
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor main %s %s 1\nsentinel down-after-milliseconds main 2000\nsentinel failover-timeout main 5000\n", mine, dir, host, port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g.watch = &Server{t: t, Addr: "127.0.0.1:" + mine, args: []string{binary(t), conf, "--sentinel"}}
	if err := g.watch.start(); err != nil {
		t.Fatalf("sentinel: %v", err)
	}
	t.Cleanup(g.watch.Kill)
	g.URL = "redis+sentinel://" + g.watch.Addr + "/main"
	rdb := replica.Client()
	defer rdb.Close()
	g.await(ctx, func() bool {
		info, err := rdb.InfoMap(ctx, "replication").Result()
		return err == nil && info["Replication"]["master_link_status"] == "up"
	})
	g.await(ctx, func() bool { return len(g.replicas(ctx)) == 1 })
	return g
}

func (g *Sentinel) client() *redis.SentinelClient {
	return redis.NewSentinelClient(&redis.Options{Addr: g.watch.Addr})
}

func (g *Sentinel) replicas(ctx context.Context) []map[string]string {
	c := g.client()
	defer c.Close()
	list, _ := c.Replicas(ctx, "main").Result()
	return list
}

// Failover makes the replica the master, and returns when it is, and the other
// follows it.
func (g *Sentinel) Failover(ctx context.Context) {
	g.t.Helper()
	c := g.client()
	defer c.Close()
	g.await(ctx, func() bool { return c.Failover(ctx, "main").Err() == nil }) // it may not be sure of the replica yet
	g.Servers[0], g.Servers[1] = g.Servers[1], g.Servers[0]
	rdb := g.Servers[1].Client()
	defer rdb.Close()
	g.await(ctx, func() bool {
		addr, err := c.GetMasterAddrByName(ctx, "main").Result()
		return err == nil && net.JoinHostPort(addr[0], addr[1]) == g.Servers[0].Addr
	})
	g.await(ctx, func() bool {
		info, err := rdb.InfoMap(ctx, "replication").Result()
		return err == nil && info["Replication"]["role"] == "slave" && info["Replication"]["master_link_status"] == "up"
	})
}

// await asks again and again until it is so.
func (g *Sentinel) await(ctx context.Context, ok func() bool) {
	g.t.Helper()
	await(ctx, g.t, ok)
}

// Replicated waits until the replica has all that the master was told so far.
func (g *Sentinel) Replicated(ctx context.Context) {
	g.t.Helper()
	g.await(ctx, func() bool { return caughtUp(ctx, g.Servers[0], g.Servers[1]) })
}

// Lag has the replica take over without what the master acknowledged during fn, and returns when it is the master.
// The other stays away.
func (g *Sentinel) Lag(ctx context.Context, fn func()) {
	g.t.Helper()
	fallBehind(ctx, g.t, g.Servers[0], g.Servers[1], fn)
	g.Servers[0], g.Servers[1] = g.Servers[1], g.Servers[0]
	rdb := g.Servers[0].Client()
	defer rdb.Close()
	g.await(ctx, func() bool {
		info, err := rdb.InfoMap(ctx, "replication").Result()
		return err == nil && info["Replication"]["role"] == "master"
	})
}
