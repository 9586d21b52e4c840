package redisqueue

import (
	"context"
	"crypto/tls"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/rexgate/rexgate/queue"
)

// Options say where the store is and how it is used.
type Options struct {
	// URL is one of
	//
	//	redis://user:password@host:6379/0         standalone; rediss:// for TLS
	//	redis://host1:6379,host2:6379             a cluster, by several of its nodes
	//	redis://host:6379?cluster=true            a cluster, by one
	//	redis+sentinel://host1:26379,host2:26379/mymaster/0
	//
	// with the parameters of go-redis' URLs (read_timeout, pool_size, ...).
	// rediss+sentinel:// is Sentinel with TLS.
	URL string
	// Username and Password, if set, are used instead of those in the URL, so
	// that a secret needn't be in it.
	Username, Password string
	// TLS, if set, is used instead of what rediss:// makes.
	TLS *tls.Config
	// Prefix begins every key and channel; "" = "rexgate:". Stores with other
	// prefixes know nothing of each other.
	Prefix string
	// MaxBytes is the room the store may use; 0 = Redis' maxmemory.
	MaxBytes int64
	// ClockOffset, if set, is added to Redis' clock wherever the store looks at it. It is
	// for tests, which needn't wait that way.
	ClockOffset func() time.Duration

	slow bool // see loadScripts; for tests
}

// Validate tells what is wrong with the options, as far as can be told without a
// server. It connects to nothing.
func (o *Options) Validate() error {
	if _, err := o.prefix(); err != nil {
		return err
	}
	_, err := o.parse()
	return err
}

// connect makes the client that a URL asks for.
func (o *Options) connect() (redis.UniversalClient, error) {
	client, err := o.parse()
	if err != nil {
		return nil, err
	}
	return client(), nil
}

// parse reads the URL, and gives what makes its client.
func (o *Options) parse() (func() redis.UniversalClient, error) {
	scheme, rest, ok := strings.Cut(o.URL, "://")
	if !ok {
		return nil, queue.Errorf(queue.Invalid, "redis: the URL has no scheme; it is like redis://host:6379/0")
	}
	sentinel := strings.HasSuffix(scheme, "+sentinel")
	scheme = strings.TrimSuffix(scheme, "+sentinel")
	if scheme != "redis" && scheme != "rediss" {
		return nil, queue.Errorf(queue.Invalid, "redis: unknown scheme %q; use redis, rediss, redis+sentinel or rediss+sentinel", scheme)
	}
	u, err := splitHosts(scheme, rest)
	if err != nil {
		return nil, hide(err)
	}
	query := u.Query()
	cluster := query.Has("addr")
	if v := query.Get("cluster"); v != "" {
		if cluster, err = strconv.ParseBool(v); err != nil {
			return nil, queue.Errorf(queue.Invalid, "redis: cluster=%s is neither true nor false", v)
		}
	}
	query.Del("cluster")
	u.RawQuery = query.Encode()
	off := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	switch {
	case sentinel:
		return o.sentinel(u)
	case cluster:
		c, err := redis.ParseClusterURL(u.String())
		if err != nil {
			return nil, hide(err)
		}
		c.MaintNotificationsConfig, c.ContextTimeoutEnabled, c.DialerRetries = off, true, max(c.DialerRetries, 1)
		o.secure(&c.Username, &c.Password, &c.TLSConfig)
		return func() redis.UniversalClient { return redis.NewClusterClient(c) }, nil
	}
	c, err := redis.ParseURL(u.String())
	if err != nil {
		return nil, hide(err)
	}
	c.MaintNotificationsConfig, c.ContextTimeoutEnabled, c.DialerRetries = off, true, max(c.DialerRetries, 1)
	o.secure(&c.Username, &c.Password, &c.TLSConfig)
	return func() redis.UniversalClient { return redis.NewClient(c) }, nil
}

func (o *Options) sentinel(u *url.URL) (func() redis.UniversalClient, error) {
	query := u.Query()
	if path := strings.FieldsFunc(u.Path, func(r rune) bool { return r == '/' }); len(path) > 0 && !query.Has("master_name") {
		query.Set("master_name", path[0])
		u.Path = "/" + strings.Join(path[1:], "/")
		u.RawQuery = query.Encode()
	}
	if query.Get("master_name") == "" {
		return nil, queue.Errorf(queue.Invalid, "redis: the URL names no master: redis+sentinel://host:26379/mymaster")
	}
	c, err := redis.ParseFailoverURL(u.String())
	if err != nil {
		return nil, hide(err)
	}
	c.ContextTimeoutEnabled, c.DialerRetries = true, max(c.DialerRetries, 1)
	if c.Username == "" && c.Password == "" {
		c.Username, c.Password = c.SentinelUsername, c.SentinelPassword
	}
	o.secure(&c.Username, &c.Password, &c.TLSConfig)
	return func() redis.UniversalClient { return redis.NewFailoverClient(c) }, nil
}

func (o *Options) secure(user, password *string, conf **tls.Config) {
	if o.Username != "" {
		*user = o.Username
	}
	if o.Password != "" {
		*password = o.Password
	}
	if o.TLS != nil {
		*conf = o.TLS.Clone()
	}
}

// splitHosts parses a URL whose host may be a list: the first stays, the others
// become addr parameters, which go-redis reads.
func splitHosts(scheme, rest string) (*url.URL, error) {
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	user, hosts := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, hosts = authority[:i+1], authority[i+1:]
	}
	list := strings.Split(hosts, ",")
	u, err := url.Parse(scheme + "://" + user + list[0] + tail)
	if err != nil {
		return nil, err
	}
	q := u.Query()
	for _, h := range list[1:] {
		if !strings.Contains(h, ":") {
			h += ":6379"
		}
		q.Add("addr", h)
	}
	u.RawQuery = q.Encode()
	return u, nil
}

// hide makes an error of a URL that doesn't show its password.
func hide(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return &queue.Error{Code: queue.Invalid, Message: "redis: the URL: " + strings.TrimPrefix(err.Error(), "redis: "), Err: err}
}

// check refuses a server that couldn't keep what it is given.
func check(ctx context.Context, node *redis.Client, cluster bool) error {
	text, err := node.Info(ctx).Result()
	if err != nil {
		return failed("info", err)
	}
	return checkInfo(parseInfo(text), node.Options().Addr, cluster)
}

func checkInfo(info map[string]string, addr string, cluster bool) error {
	major, _ := strconv.Atoi(strings.SplitN(info["redis_version"], ".", 2)[0])
	switch {
	case major < 7 && info["valkey_version"] == "":
		return queue.Errorf(queue.Invalid, "redis at %s is version %s; 7.0 or later is needed", addr, info["redis_version"])
	case info["maxmemory_policy"] != "noeviction":
		return queue.Errorf(queue.Invalid, "redis at %s would evict jobs: its maxmemory-policy is %s; set it to noeviction", addr, info["maxmemory_policy"])
	case info["cluster_enabled"] == "1" && !cluster:
		return queue.Errorf(queue.Invalid, "redis at %s is a node of a cluster; name several of its nodes in the URL, or add ?cluster=true", addr)
	}
	return nil
}

func parseInfo(text string) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			m[k] = v
		}
	}
	return m
}

// agree stores the layout's numbers, or refuses those of another layout.
func (s *Store) agree(ctx context.Context) error {
	key := s.k.jobs("meta")
	want := map[string]string{"schema": strconv.Itoa(schema), "partitions": strconv.Itoa(Partitions)}
	for _, f := range []string{"schema", "partitions"} {
		if err := s.rdb.HSetNX(ctx, key, f, want[f]).Err(); err != nil {
			return failed("meta", err)
		}
	}
	have, err := s.rdb.HGetAll(ctx, key).Result()
	if err != nil {
		return failed("meta", err)
	}
	for _, f := range []string{"schema", "partitions"} {
		if have[f] != want[f] {
			return queue.Errorf(queue.Invalid, "redis holds a store with %s %s under the prefix %s; this program has %s", f, have[f], s.k.prefix, want[f])
		}
	}
	return nil
}

func (o *Options) prefix() (string, error) {
	switch {
	case o.Prefix == "":
		return "rexgate:", nil
	case strings.ContainsAny(o.Prefix, "{}\r\n\x00 ") || len(o.Prefix) > 64:
		return "", queue.Errorf(queue.Invalid, "redis: the prefix %.70q has braces or spaces, or more than 64 bytes", o.Prefix)
	}
	return o.Prefix, nil
}
