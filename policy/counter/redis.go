package counter

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	_ "embed"
	"encoding/hex"
	"errors"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

//go:embed script.lua
var script string

// store is the counters in Redis. All arithmetic is in the script, which Redis runs as one step.
type store struct {
	client redis.UniversalClient
	digest string
	prefix string
	label  string
	now    func() time.Time // nil: Redis's own clock
	epoch  string           // a mark that is lost with the data, as it was last seen; of the far's goroutine
}

// dialer makes connections; nil: the driver's own.
type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// quiet keeps the driver's own log off stderr: what fails is returned as well.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func dial(where, prefix, label string, to dialer) (*store, error) {
	redis.SetLogger(quiet{})
	client, err := newClient(where, to)
	if err != nil {
		return nil, err
	}
	if prefix == "" {
		prefix = "jarvis:counter:"
	}
	return &store{client: client, digest: redis.NewScript(script).Hash(), prefix: prefix, label: label}, nil
}

// newClient never retries: reports are made anew, with what has changed since.
func newClient(where string, to dialer) (redis.UniversalClient, error) {
	scheme, rest, _ := strings.Cut(where, "://")
	if scheme == "redis-cluster" || scheme == "rediss-cluster" {
		o, err := clusterOptions(rest)
		if scheme == "rediss-cluster" && err == nil {
			o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		if err != nil {
			return nil, err
		}
		o.Dialer = to
		return redis.NewClusterClient(o), nil
	}
	o, err := redis.ParseURL(where)
	if err != nil {
		return nil, errors.New("expected memory, redis://[user:password@]host:port/db, rediss:// (with TLS) or redis-cluster://host:port,host:port")
	}
	o.MaxRetries, o.DialerRetries, o.ContextTimeoutEnabled, o.DisableIdentity = -1, 1, true, true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolSize, o.Dialer = timeout, timeout, timeout, 4, to
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(o), nil
}

func clusterOptions(rest string) (*redis.ClusterOptions, error) {
	o := &redis.ClusterOptions{MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, DisableIdentity: true,
		DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout, PoolSize: 4,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, password, _ := strings.Cut(rest[:at], ":")
		var err1, err2 error
		o.Username, err1 = url.PathUnescape(user)
		o.Password, err2 = url.PathUnescape(password)
		if err1 != nil || err2 != nil {
			return nil, errors.New("the user or password of redis-cluster:// is not escaped as in URLs")
		}
		rest = rest[at+1:]
	}
	for host := range strings.SplitSeq(strings.TrimSuffix(rest, "/"), ",") {
		if name, port, ok := strings.Cut(host, ":"); !ok || name == "" || port == "" || strings.ContainsAny(host, "/?# ") {
			return nil, errors.New("expected redis-cluster://host:port,host:port") // the host may be a password whose @ is missing
		}
		o.Addrs = append(o.Addrs, host)
	}
	return o, nil
}

// keys are those of a counter: what was used, and what is leased. Braces keep both on one node of a cluster.
func (s *store) keys(spec *Spec) []string {
	name := spec.Name
	if len(name) > 200 || strings.ContainsAny(name, "{}") {
		sum := sha256.Sum256([]byte(name))
		name = "#" + hex.EncodeToString(sum[:16])
	}
	key := s.prefix + "{" + name + "/" + spec.shape() + "}"
	return []string{key + "used", key + "leases"}
}

// shape is how a spec counts: counters that count in different ways share nothing.
func (s *Spec) shape() string {
	switch s.Algorithm {
	case Sliding:
		return "sliding/" + s.Window.String()
	case Token, Leaky:
		return "bucket/" + s.Window.String()
	case Calendar:
		return [...]string{"day", "month"}[s.Period] + "/" + s.zone().String()
	}
	return "level"
}

var algorithms = [...]string{Sliding: "sliding", Token: "bucket", Leaky: "bucket", Calendar: "calendar", Level: "level"}

// sync sends reports in one go and puts the answers into them. The error is one that is not of a single report's own: Redis
// is away, or serves nobody.
func (s *store) sync(ctx context.Context, reports []report) error {
	for i := range reports {
		reports[i].problem = errors.New("not sent")
	}
	unknown, err := s.send(ctx, reports)
	if unknown {
		if err = s.load(ctx); err == nil {
			_, err = s.send(ctx, reports)
		}
	}
	return err
}

// send sends the reports that have no answer yet. unknown is that a node has no such script: it was restarted, or is new.
func (s *store) send(ctx context.Context, reports []report) (unknown bool, err error) {
	pipe := s.client.Pipeline()
	mark := s.mark(ctx, pipe)
	commands := make([]*redis.Cmd, len(reports))
	for i := range reports {
		if reports[i].problem != nil {
			commands[i] = pipe.EvalSha(ctx, s.digest, reports[i].k.lease.keys, s.args(&reports[i])...)
		}
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	err = s.see(mark)
	for i, command := range commands {
		if command == nil {
			continue
		}
		reports[i].problem = reports[i].read(command)
		if reports[i].problem != nil {
			unknown = unknown || redis.HasErrorPrefix(reports[i].problem, "NOSCRIPT")
			if !own(reports[i].problem) {
				err = reports[i].problem
			}
		}
	}
	return unknown, err
}

// serves are the answers, or parts of them, of a Redis that serves nobody.
var serves = []string{"NOSCRIPT", "OOM", "LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "MISCONF", "NOREPLICAS", "BUSY", "TRYAGAIN",
	"NOAUTH", "NOPERM", "WRONGPASS", "max number of clients", "unknown command"}

// own tells whether a report failed for itself alone, as it does when its key is not one of ours. That says nothing about
// Redis, and others' counters go on.
func own(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return errors.Is(err, errAnswer)
	}
	return !slices.ContainsFunc(serves, func(s string) bool { return strings.Contains(reply.Error(), s) })
}

func (s *store) load(ctx context.Context) error {
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			return node.ScriptLoad(ctx, script).Err()
		})
	}
	return s.client.ScriptLoad(ctx, script).Err()
}

func (s *store) args(r *report) []any {
	spec := &r.k.spec
	now := ""
	if s.now != nil {
		now = strconv.FormatInt(s.now().UnixMicro(), 10)
	}
	id := strconv.FormatUint(r.id, 16)
	return []any{algorithms[spec.Algorithm], r.cap, r.limit, max(1, spec.Window.Microseconds()), id, s.label, r.seq, r.spent, r.acked,
		r.have, r.held, r.want, r.need, r.least, r.ttl / 1e3, r.begin / 1e3, r.end / 1e3, r.window / 1e3, r.used, r.own, r.soon, now, r.fresh / 1e3}
}

var errAnswer = errors.New("Redis gave an answer that cannot be read")

// read takes an answer. Times come in microseconds.
func (r *report) read(c *redis.Cmd) error {
	if err := c.Err(); err != nil {
		return err
	}
	list, err := c.Int64Slice()
	if err != nil || len(list) != 11 {
		return errAnswer
	}
	micro := func(n int64) int64 { return min(n, math.MaxInt64/1000) * 1000 }
	r.answer = answer{lease: list[0], used: list[1], free: list[2], others: list[3], live: list[4], wait: micro(list[5]),
		reset: micro(list[6]), window: micro(list[7]), now: micro(list[8]), hungry: list[9] == 1, quiet: micro(list[10])}
	return nil
}

// look finds out whether Redis answers, and whether it still has its data. The first look brings the script along, for it
// opens the connection, and each trip counts for those who wait already.
func (s *store) look(ctx context.Context) error {
	pipe := s.client.Pipeline()
	mark := s.mark(ctx, pipe)
	if s.epoch == "" {
		pipe.ScriptLoad(ctx, script) // if that fails, or for other nodes of a cluster, the first sync does it
	}
	_, _ = pipe.Exec(ctx)
	return s.see(mark)
}

// mark asks for the mark, and makes one where there is none. In a cluster it tells of its own node alone.
func (s *store) mark(ctx context.Context, pipe redis.Pipeliner) *redis.StringCmd {
	key := s.prefix + "epoch"
	pipe.SetNX(ctx, key, strconv.FormatUint(random(), 16), 0)
	return pipe.Get(ctx, key)
}

func (s *store) see(mark *redis.StringCmd) error {
	epoch, err := mark.Result()
	if err == nil {
		s.epoch = epoch
	}
	return err
}

func (s *store) close() error { return s.client.Close() }
