package cache

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// far is the cache in Redis. Who looks into it waits for a moment at most; after a failure Redis is left alone for a while. What is
// kept goes there from a queue, by one goroutine, which also looks what was purged elsewhere.
type far struct {
	c      *Cache
	client redis.UniversalClient
	prefix string
	short  time.Duration
	rests  atomic.Int64 // unix nanoseconds until which Redis is left alone
	known  atomic.Bool  // what was purged is: before that nothing of Redis may be used
	queue  chan kept
	weight atomic.Int64 // of the queue
	begun  sync.Once
	stop   context.CancelFunc
	done   sync.WaitGroup
	ctx    context.Context // ends with Close
}

type kept struct {
	key   Key
	entry *Entry
}

const (
	shortest = 50 * time.Millisecond // that a request waits
	longest  = time.Second           // that nobody waits for
	resting  = time.Second           // after a failure
	syncs    = time.Second / 2       // between two looks at what was purged
	queued   = 256                   // entries on their way to Redis; more are not shared
	heavy    = 16 << 20              // bytes of these: they are not of what memory holds
	mostHead = 64 << 10              // bytes of an entry beside its body; a value of more is none of ours
)

func openFar(c *Cache, o *Options) (*far, error) {
	client, err := newClient(o.URL)
	if err != nil {
		return nil, err
	}
	f := &far{c: c, client: client, prefix: o.prefix, short: o.short, queue: make(chan kept, queued)}
	if f.prefix == "" {
		f.prefix = "jarvis:cache:"
	}
	if f.short == 0 {
		f.short = shortest
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f, nil
}

// start begins the work with the first request that is for a model with a cache: most gateways have none.
func (f *far) start() {
	f.begun.Do(func() { f.done.Go(f.work) })
}

func (f *far) close() error {
	f.begun.Do(func() {})
	f.stop()
	f.done.Wait()
	return f.client.Close()
}

func (f *far) work() {
	tick := time.NewTicker(syncs)
	defer tick.Stop()
	f.sync()
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-tick.C:
			f.sync()
		case k := <-f.queue:
			f.set(&k)
		}
	}
}

// name is a key in Redis.
func (f *far) name(key *Key) string {
	return f.prefix + base64.RawURLEncoding.EncodeToString(key.sum[:])
}

// get looks for an answer.
func (f *far) get(key *Key) *Entry {
	if !f.known.Load() || f.restful() {
		return nil
	}
	ctx, cancel := context.WithTimeout(f.ctx, f.short)
	defer cancel()
	text, err := f.client.GetRange(ctx, f.name(key), 0, f.c.entry.Load()+mostHead).Bytes() // of none it is empty
	if err != nil {
		f.note(opGet, err)
		return nil
	}
	return readEntry(text)
}

// put has an answer be shared, if Redis keeps up. One may be as large as it likes.
func (f *far) put(key Key, e *Entry) {
	if size := e.size(); f.weight.Add(size) <= max(heavy, size) {
		select {
		case f.queue <- kept{key, e}:
			return
		default:
		}
	}
	f.weight.Add(-e.size())
	f.c.failed[opSet].Add(1)
}

func (f *far) set(k *kept) {
	defer f.weight.Add(-k.entry.size())
	left := k.entry.Stored.Add(k.entry.TTL).Sub(f.c.now())
	if left < time.Millisecond || !f.known.Load() || f.restful() {
		return
	}
	text, err := k.entry.text()
	if err == nil {
		ctx, cancel := context.WithTimeout(f.ctx, longest)
		defer cancel()
		err = f.client.Set(ctx, f.name(&k.key), text, left).Err()
	}
	f.note(opSet, err)
}

// purge tells Redis of the next epoch of a scope.
func (f *far) purge(s Scope, at int64) error {
	ctx, cancel := context.WithTimeout(f.ctx, longest)
	defer cancel()
	err := f.client.HSet(ctx, f.epochs(), s.Tenant+separator+s.Model, at).Err()
	f.note(opPurge, err)
	return err
}

// separator is in no name of a tenant or model.
const separator = "\x00"

// epochs is where Redis has them.
func (f *far) epochs() string { return f.prefix + "epochs" }

// sync takes over what was purged elsewhere, and tells Redis what it has lost or never heard of.
func (f *far) sync() {
	if f.restful() {
		return
	}
	ctx, cancel := context.WithTimeout(f.ctx, longest)
	defer cancel()
	all, err := f.client.HGetAll(ctx, f.epochs()).Result()
	f.note(opSync, err)
	if err != nil {
		return
	}
	there := map[Scope]int64{}
	for name, text := range all {
		tenant, model, ok := strings.Cut(name, separator)
		if at, err := strconv.ParseInt(text, 10, 64); ok && err == nil {
			there[Scope{tenant, model}] = at
		}
	}
	later, ours := f.c.epochs.merge(there)
	for s := range later {
		f.c.memory.purge(s)
	}
	for s, at := range ours {
		_ = f.purge(s, at) // it is tried again
	}
	f.known.Store(true)
}

// note counts a failure, after which Redis is left alone.
func (f *far) note(op operation, err error) {
	if err == nil || errors.Is(err, redis.Nil) || f.ctx.Err() != nil {
		return
	}
	f.c.failed[op].Add(1)
	f.rests.Store(f.c.now().Add(resting).UnixNano())
}

// restful tells that Redis is left alone.
func (f *far) restful() bool {
	until := f.rests.Load()
	return until != 0 && f.c.now().UnixNano() < until
}

// newClient never retries: a cache that does not answer at once has nothing. The driver's own log was turned off by the counters, which
// have the same Redis.
func newClient(where string) (redis.UniversalClient, error) {
	scheme, rest, _ := strings.Cut(where, "://")
	if scheme == "redis-cluster" || scheme == "rediss-cluster" {
		o, err := clusterOptions(rest)
		if err == nil && scheme == "rediss-cluster" {
			o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		if err != nil {
			return nil, err
		}
		return redis.NewClusterClient(o), nil
	}
	o, err := redis.ParseURL(where)
	if err != nil {
		return nil, errURL
	}
	o.MaxRetries, o.DialerRetries, o.ContextTimeoutEnabled, o.DisableIdentity = -1, 1, true, true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolSize = longest, longest, longest, connections
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(o), nil
}

// connections are how many there may be to one Redis.
const connections = 16

var errURL = errors.New("expected memory, redis://[user:password@]host:port/db, rediss:// (with TLS) or redis-cluster://host:port,host:port")

func clusterOptions(rest string) (*redis.ClusterOptions, error) {
	o := &redis.ClusterOptions{MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, DisableIdentity: true,
		DialTimeout: longest, ReadTimeout: longest, WriteTimeout: longest, PoolSize: connections,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, password, _ := strings.Cut(rest[:at], ":")
		var errs [2]error
		o.Username, errs[0] = url.PathUnescape(user)
		o.Password, errs[1] = url.PathUnescape(password)
		if errors.Join(errs[:]...) != nil {
			return nil, errURL // its own words might show the password
		}
		rest = rest[at+1:]
	}
	for host := range strings.SplitSeq(strings.TrimSuffix(rest, "/"), ",") {
		if name, port, ok := strings.Cut(host, ":"); !ok || name == "" || port == "" || strings.ContainsAny(host, "/?# ") {
			return nil, errURL
		}
		o.Addrs = append(o.Addrs, host)
	}
	return o, nil
}
