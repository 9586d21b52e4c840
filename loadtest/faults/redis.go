package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// redisPair is the Redis of a world: a master, and a server that follows it when a failover is to come.
type redisPair struct {
	busy  sync.Mutex // held by a fault
	repl  *relay     // from the follower to the master: cut, but for a failover
	nodes [2]*redisNode

	mu  sync.Mutex // guards the following
	now int        // which of the nodes is the master
}

// redisNode is one redis-server. It writes its append-only file, and syncs it, before it answers, so that
// a kill, and a loss of power, lose nothing that was acknowledged: that is for failovers.
type redisNode struct {
	*process
	addr string
	dir  string
	disk *disk // nil = the suite's
}

// redisDisk is the size of a Redis' disk.
const redisDisk = 2 << 30

func newRedis(ctx context.Context, w *world) (p *redisPair, err error) {
	p = &redisPair{}
	for i := range p.nodes {
		if p.nodes[i], err = newRedisNode(w, fmt.Sprintf("redis-%d", i+1)); err != nil {
			return p, err
		}
		if err := p.nodes[i].up(ctx); err != nil {
			return p, err
		}
	}
	if p.repl, err = newRelay("replication", p.master().addr, false); err != nil {
		return p, err
	}
	p.repl.cut(true)
	return p, p.follow()
}

func newRedisNode(w *world, name string) (*redisNode, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n := &redisNode{addr: addr, dir: filepath.Join(w.cfg.Dir, name)}
	if n.disk, err = w.newDisk(n.dir, redisDisk); err != nil {
		return nil, err
	}
	n.process = &process{
		name: name, path: w.cfg.RedisServer, log: filepath.Join(w.logs, name+".log"),
		args: []string{"--port", port, "--bind", "127.0.0.1", "--dir", n.dir, "--daemonize", "no", "--save", "", "--appendonly", "yes",
			"--appendfsync", "always", "--auto-aof-rewrite-percentage", "0", "--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0"},
	}
	return n, nil
}

func (p *redisPair) master() *redisNode { return p.nodes[p.at()] }

// follower is the other one.
func (p *redisPair) follower() *redisNode { return p.nodes[1-p.at()] }

func (p *redisPair) at() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// follow has the other one follow the master, as far as the relay lets it.
func (p *redisPair) follow() error {
	host, port, err := net.SplitHostPort(p.repl.addr())
	if err != nil {
		return err
	}
	_, err = redisDo(p.follower().addr, "REPLICAOF", host, port)
	return err
}

// errBehind says that the follower didn't come near the master.
var errBehind = fmt.Errorf("%w: the replica has not come near its master", errNothing)

// catchUp lets the follower through, and waits until it has, on its disk, what the master has.
func (p *redisPair) catchUp(ctx context.Context) error {
	p.repl.cut(false)
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		s, err := redisDo(p.follower().addr, "INFO")
		if err == nil && strings.Contains(s, "role:slave") && strings.Contains(s, "master_link_status:up") && strings.Contains(s, "master_sync_in_progress:0") &&
			strings.Contains(s, "aof_enabled:1") && strings.Contains(s, "aof_rewrite_in_progress:0") && strings.Contains(s, "aof_rewrite_scheduled:0") && strings.Contains(s, "loading:0") {
			return nil
		}
		if pause(ctx, 10*time.Millisecond) != nil {
			p.repl.cut(true)
			return errBehind
		}
	}
}

// promote makes the follower the master; who was it must have ended.
func (p *redisPair) promote() error {
	next := p.follower()
	if _, err := redisDo(next.addr, "REPLICAOF", "NO", "ONE"); err != nil {
		return err
	}
	p.mu.Lock()
	p.now = 1 - p.now
	p.mu.Unlock()
	p.repl.aim(next.addr)
	return nil
}

// comeBack starts the other one with nothing, as the master's follower.
func (p *redisPair) comeBack(ctx context.Context) error {
	n := p.follower()
	if err := os.RemoveAll(filepath.Join(n.dir, "appendonlydir")); err != nil {
		return err
	}
	return errors.Join(n.up(ctx), p.follow())
}

// close ends both at once.
func (p *redisPair) close() {
	for _, n := range p.nodes {
		if n != nil {
			n.kill()
			n.disk.drop()
		}
	}
	if p.repl != nil {
		p.repl.close()
	}
}

// up starts it, and waits until it has loaded its data.
func (r *redisNode) up(ctx context.Context) error {
	said := size(r.log)
	if err := r.start(); err != nil {
		return err
	}
	for {
		if _, err := redisDo(r.addr, "PING"); err == nil {
			return r.whole(ctx, said)
		}
		if !r.running() {
			return fmt.Errorf("%s ended at its start: %w: %s", r.name, errOr(r.ended()), lastLine(r.log))
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("%s isn't ready: %w", r.name, err)
		}
	}
}

// whole has the append-only file written anew where its end was cut off at this start: redis-server 7.0 cuts in the middle of a
// transaction, of which the next start then applies the first half, with what was appended to it.
func (r *redisNode) whole(ctx context.Context, said int64) error {
	text, err := os.ReadFile(r.log)
	if err != nil || !bytes.Contains(text[min(said, int64(len(text))):], []byte("Truncating the AOF")) {
		return err
	}
	if _, err := redisDo(r.addr, "BGREWRITEAOF"); err != nil {
		return err
	}
	for {
		s, err := redisDo(r.addr, "INFO", "persistence")
		if err != nil {
			return err
		}
		if strings.Contains(s, "aof_rewrite_in_progress:0") && strings.Contains(s, "aof_rewrite_scheduled:0") {
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

func size(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return info.Size()
}

// again starts it if it has ended, or is about to: who answers hasn't met what made it end.
func (r *redisNode) again(ctx context.Context) error {
	for r.running() {
		if _, err := redisDo(r.addr, "PING"); err == nil {
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("%s doesn't answer: %w", r.name, err)
		}
	}
	return r.up(ctx)
}

// aof gives the file that writes are appended to.
func (r *redisNode) aof() (string, error) {
	files, err := filepath.Glob(filepath.Join(r.dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("redis has %d append-only files, not one: %w", len(files), err)
	}
	return files[0], nil
}

// written is how much has been appended so far.
func (r *redisNode) written() (int64, error) {
	f, err := r.aof()
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(f)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// lose ends it, and forgets what was written beyond a size.
func (r *redisNode) lose(size int64) error {
	r.kill()
	f, err := r.aof()
	if err != nil {
		return err
	}
	return os.Truncate(f, size)
}
