package redisqueue

import (
	"context"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

//go:embed lua/*.lua
var luaFiles embed.FS

const (
	inlineMax  = 512      // bytes of output, encoded, that stay in the record
	segmentMax = 64 << 10 // bytes of an output segment
	drainMax   = 500      // executions that one script ends for a re-enrolled host
)

// script is one of lua/, with what it needs before it.
type script struct{ name, body, sha string }

// scripts are all of them, by what they do. Those of a partition take
// its common keys first, and its verb with the clock's offset as the first argument; the
// others name their own.
type scripts struct {
	expand, cancel, claim, release, lease, record, tick, due, enroll, bar, drain, verify *script // of a partition

	label, alive, hosts, check, queue, prepare, erase, wipe, token *script // plain, in a partition
	begin, commit, abort, intent, drive, close, ended, drop, gone  *script // about all jobs
}

func loadScripts() (*scripts, error) {
	var s scripts
	part := map[string]**script{"expand": &s.expand, "cancel": &s.cancel, "claim": &s.claim, "release": &s.release,
		"lease": &s.lease, "record": &s.record, "tick": &s.tick, "due": &s.due, "enroll": &s.enroll, "bar": &s.bar,
		"drain": &s.drain, "verify": &s.verify}
	plain := map[string]**script{"label": &s.label, "alive": &s.alive, "hosts": &s.hosts, "check": &s.check, "token": &s.token, "queue": &s.queue,
		"prepare": &s.prepare, "erase": &s.erase, "wipe": &s.wipe, "begin": &s.begin, "commit": &s.commit, "abort": &s.abort,
		"intent": &s.intent, "drive": &s.drive, "close": &s.close, "ended": &s.ended, "drop": &s.drop, "gone": &s.gone}
	if err := loadPart(part); err != nil {
		return nil, err
	}
	for name, at := range plain {
		sc, err := loadScript(name)
		if err != nil {
			return nil, err
		}
		*at = sc
	}
	return &s, nil
}

// loadPart makes one script of all those of a partition, which choose by their
// name: what they have in common is in Redis' Lua once, where every collection of garbage goes
// through all that is loaded.
func loadPart(part map[string]**script) error {
	var b strings.Builder
	b.WriteString("#!lua\n" + luaConstants())
	for _, f := range []string{"common", "execution"} {
		text, err := luaFiles.ReadFile("lua/" + f + ".lua")
		if err != nil {
			return err
		}
		b.Write(text)
	}
	word := "if"
	for _, name := range slices.Sorted(maps.Keys(part)) {
		text, err := luaFiles.ReadFile("lua/" + name + ".lua")
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s VERB == '%s' then\n%s", word, name, text)
		word = "elseif"
	}
	b.WriteString("end\nerror('no verb ' .. VERB)\n")
	sha := digestOf(b.String())
	for name, at := range part {
		*at = &script{name: name, body: b.String(), sha: sha}
	}
	return nil
}

// loadScript reads a script that stands alone. The first line makes Redis
// refuse one that writes before it starts, where writing isn't possible (out of
// memory, a replica, a failed disk), rather than in its middle.
func loadScript(name string) (*script, error) {
	text, err := luaFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		return nil, err
	}
	head := "#!lua\n"
	if strings.Contains(string(text), "\n-- flags=no-writes\n") {
		head = "#!lua flags=no-writes\n"
	}
	body := head + luaConstants() + string(text)
	return &script{name: name, body: body, sha: digestOf(body)}, nil
}

func digestOf(body string) string {
	sum := sha1.Sum([]byte(body))
	return hex.EncodeToString(sum[:])
}

// luaConstants gives the scripts what the domain fixes.
func luaConstants() string {
	return fmt.Sprintf("local SHARD, MAX_TICK, LEASE_TTL, INLINE_MAX, SEGMENT_MAX, DRAIN_MAX = %d, %d, %d, %d, %d, %d\n"+
		"local WHY_EXPIRED, WHY_REENROLLED, WHY_VANISHED, WHY_SILENT = '%s', '%s', '%s', '%s'\n",
		shardSize, queue.MaxTick.Microseconds(), queue.DefaultLeaseTTL.Microseconds(), inlineMax, segmentMax, drainMax,
		queue.WhyExpired, queue.WhyReenrolled, queue.WhyVanished, queue.WhySilent)
}

func (s *scripts) all() []*script {
	return []*script{s.expand, s.cancel, s.claim, s.release, s.lease, s.record, s.tick, s.due, s.enroll, s.bar, s.drain,
		s.verify, s.label, s.alive, s.hosts, s.check, s.queue, s.token, s.prepare, s.erase, s.wipe, s.begin, s.commit, s.abort, s.intent, s.drive,
		s.close, s.ended, s.drop, s.gone}
}

// load puts the scripts on a master.
func (s *scripts) load(ctx context.Context, node *redis.Client) error {
	pipe := node.Pipeline()
	loaded := make(map[string]bool)
	for _, sc := range s.all() {
		if !loaded[sc.sha] {
			loaded[sc.sha] = true
			pipe.ScriptLoad(ctx, sc.body)
		}
	}
	_, err := pipe.Exec(ctx)
	return err
}
