package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/usage/spool"
	"jarvis-gateway/proxy/usage/store"
	"jarvis-gateway/proxy/usage/stream"
	"jarvis-gateway/proxy/wire"
)

// Usage says how records of usage come into their store, and how long they stay there.
type Usage struct {
	Dir  string        `yaml:"dir,omitempty" jsonschema_description:"where records wait that are not in stores.usage yet; default spool, beside the store's file"`
	Max  proxy.Size    `yaml:"max,omitempty" jsonschema_description:"how much they may take of the disk; default 1GiB. When that is used up, stores.on_error.usage decides"`
	Sync time.Duration `yaml:"sync,omitempty" jsonschema_description:"what a loss of power may cost: the records of so long; 1ns makes every request wait for the disk. The end of the process alone costs none. Default 1s"`
	Keep UsageKeep     `yaml:"keep,omitempty" jsonschema_description:"how long records stay in the store"`

	Stream       wire.Secret `yaml:"stream,omitempty" jsonschema_description:"who is told of each record once it is stored, at least once: kafka://HOST:9092,HOST:9092/TOPIC, amqps://USER:PASSWORD@HOST/VHOST?exchange=NAME, sqs://HOST/ACCOUNT/QUEUE?region=NAME, or the URL of a webhook. What waits takes as much of the disk as max again; then the oldest goes"`
	StreamSecret wire.Secret `yaml:"stream_secret,omitempty" jsonschema_description:"signs what a webhook is told, as Standard Webhooks has it: whsec_ and base64; other text, of 16 characters at least, is the key itself"`
}

// UsageKeep says how long records stay in their store.
type UsageKeep struct {
	Records  time.Duration `yaml:"records,omitempty" jsonschema_description:"requests, attempts and feedback; default 9600h, 400 days"`
	Contents time.Duration `yaml:"contents,omitempty" jsonschema_description:"prompts and answers of tenants with log_prompts; default 720h, 30 days"`
}

// spoolSegment is how large the files are that records wait in. A busy gateway has three or four of them in memory.
const spoolSegment = 4 << 20

// complete fills in what depends on the stores. A gateway whose state is kept nowhere keeps its records nowhere either.
func (u *Usage) complete(s *Stores) {
	dir := "data"
	state, embedded := strings.CutPrefix(s.State, "sqlite:")
	if embedded && state != ":memory:" {
		dir = filepath.Dir(state)
	}
	switch {
	case s.Usage != "":
	case state == ":memory:":
		s.Usage = "sqlite::memory:"
	default:
		s.Usage = "sqlite:" + filepath.Join(dir, "usage.db")
	}
	if path, ok := strings.CutPrefix(s.Usage, "sqlite:"); ok && path != ":memory:" {
		dir = filepath.Dir(path)
	}
	if u.Dir == "" && s.Usage != "sqlite::memory:" {
		u.Dir = filepath.Join(dir, "spool")
	}
}

var usageDefaults = Usage{Max: 1 << 30, Sync: time.Second, Keep: UsageKeep{Records: 400 * 24 * time.Hour, Contents: 30 * 24 * time.Hour}}

// whenFull is what the spool does when the disk that it may take is used up.
var whenFull = map[string]spool.Full{"spool": spool.DropOldest, "open": spool.DropNew, "closed": spool.Refuse}

// records is the way of the usage records: from the spool into the store.
type records struct {
	spools *spools
	spool  *spool.Log // of this process
	store  *store.Store

	stream *streamed // nil: nobody is told
	temp   string    // a folder that goes with the process, "" for none

	quit  context.CancelFunc // ends tend
	ended sync.WaitGroup
	stale *stale
}

// openRecords opens both. Where nobody said where records should be and the usual place cannot be written, as in a container without
// a disk, the gateway serves all the same, and says what will be lost.
func (s *live) openRecords(ctx context.Context) (r *records, err error) {
	u, at := s.conf.Usage, s.conf.Stores.Usage
	if u.Dir != "" {
		r, err = s.openRecordsIn(ctx, u.Dir, at)
		if _, chosen := s.conf.places["usage.dir"]; err == nil || chosen || s.conf.Stores.OnError.Usage == "closed" || !unwritable(err) {
			return r, err
		}
		s.log.Warn("usage records will be lost at the end: set usage.dir and stores.usage to places that can be written", "cause", err.Error())
		if _, chosen := s.conf.places["stores.usage"]; !chosen {
			at = "sqlite::memory:"
		}
	}
	temp, err := os.MkdirTemp("", "jarvis-spool")
	if err != nil {
		s.log.Warn("usage is not recorded", "cause", err.Error())
		return &records{}, nil
	}
	if r, err = s.openRecordsIn(ctx, temp, at); err != nil {
		return nil, errors.Join(err, os.RemoveAll(temp))
	}
	r.temp = temp
	return r, nil
}

func unwritable(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// waits is the shortest time for which a loss of power may cost records: below it every request waits for the disk.
const waits = time.Millisecond

func (s *live) openRecordsIn(ctx context.Context, dir, at string) (*records, error) {
	u, r := s.conf.Usage, &records{}
	if u.Sync < waits {
		u.Sync = 0
	}
	o := spool.Options{Max: int64(u.Max), Sync: u.Sync, Segment: spoolSegment, Full: whenFull[s.conf.Stores.OnError.Usage], Cut: proxy.Cut(s.state), Keep: u.Keep.Contents}
	if strings.HasPrefix(at, "sqlite:") {
		o.BatchRecords, o.Knows = sqliteBatch, true
	}
	var err error
	if r.spools, err = claimSpools(dir, o, &proxy.Spool, s.log); err != nil {
		return nil, fmt.Errorf("usage.dir: %w", err)
	}
	r.spool, r.stale = r.spools.own, &stale{log: s.log}
	if r.store, err = store.Open(ctx, at, store.Options{Keep: store.Keep(u.Keep), OnError: r.stale.failed, Late: true}); err != nil {
		return nil, errors.Join(fmt.Errorf("stores.usage: %w", err), r.close(ctx))
	}
	if r.stream, err = u.openStream(dir, s.log); err != nil {
		return nil, errors.Join(err, r.close(ctx))
	}
	proxy.UsageStoreUp.Set(1)
	r.spools.start(func(log *spool.Log) spool.Deliver { return telling(log, s.log, "stores.usage", r.delivery()) })
	ctx, r.quit = context.WithCancel(context.WithoutCancel(ctx))
	r.ended.Go(func() { r.tend(ctx, s.log, adopts) })
	return r, nil
}

// sqliteBatch is how many records go into SQLite at once: more take memory, and cost as much each.
const sqliteBatch = 4000

const (
	mends  = 5 * time.Second // between two looks at a store that is not ready
	adopts = time.Minute     // between two looks for spools that others have left
)

// tend has the store come up, and what others leave be delivered.
func (r *records) tend(ctx context.Context, log *slog.Logger, adopts time.Duration) {
	said := r.mend(ctx, log, "")
	if said == "" {
		r.look(ctx, log)
	}
	mend, adopt := time.NewTicker(mends), time.NewTicker(adopts)
	defer mend.Stop()
	defer adopt.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-adopt.C:
			r.spools.adopt()
			if r.stream != nil {
				r.stream.spools.adopt()
			}
		case <-mend.C:
			said = r.mend(ctx, log, said)
		}
	}
}

// look says what the store is short of. It may take long to answer, and nobody waits for that.
func (r *records) look(ctx context.Context, log *slog.Logger) {
	pending, err := r.store.Pending(ctx)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		log.Warn("usage records wait in the spool: their store does not answer", "cause", err.Error())
	case len(pending) > 0:
		log.Warn("usage records wait in the spool until their store has its tables: run jarvis-gateway usage migrate", "pending", len(pending))
	default:
		return
	}
	proxy.UsageStoreUp.Set(0) // until it has taken some
}

// mend has a store that could not be opened be tried again. It says once why that fails; said is what it has said.
func (r *records) mend(ctx context.Context, log *slog.Logger, said string) string {
	err := r.store.Ready(ctx)
	switch {
	case ctx.Err() != nil:
		return said
	case err == nil && said == "":
		return ""
	case err == nil:
		proxy.UsageStoreUp.Set(1)
		log.Info("the store of usage can be used again")
		return ""
	}
	proxy.UsageStoreUp.Set(0)
	if err.Error() != said {
		log.Error("the store of usage cannot be used: requests are served, and their records wait in the spool", "cause", err.Error())
	}
	return err.Error()
}

// stale says that the store does not delete what is old: when that begins, and when it is over.
type stale struct {
	log *slog.Logger

	mu    sync.Mutex
	again *time.Timer // fires when there was no failure for a while; nil when nothing is wrong
}

// deletes is how long the store may take to try again: it does each minute, and waits a minute for an answer.
const deletes = 3 * time.Minute

func (s *stale) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.again != nil {
		s.again.Reset(deletes)
		return
	}
	s.log.Error("old usage records cannot be deleted", "cause", err.Error())
	s.again = time.AfterFunc(deletes, s.over)
}

func (s *stale) over() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.again != nil {
		s.again = nil
		s.log.Info("old usage records are deleted again")
	}
}

func (s *stale) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.again != nil {
		s.again.Stop()
		s.again = nil
	}
}

// telling delivers, and has the log say what keeps records from where they go: once a minute, and when it is over.
func telling(from *spool.Log, log *slog.Logger, to string, deliver spool.Deliver) spool.Deliver {
	var told time.Time
	return func(ctx context.Context, token string, batch [][]byte) error {
		err := deliver(ctx, token, batch)
		switch {
		case err != nil && ctx.Err() == nil && time.Since(told) >= time.Minute:
			told = time.Now()
			now := from.Stats()
			log.Warn("usage records are not delivered", "to", to, "cause", err.Error(), "spooled", now.Spooled, "dropped", now.Dropped)
		case err == nil && !told.IsZero():
			told = time.Time{}
			log.Info("usage records are delivered again", "to", to)
		}
		return err
	}
}

// delivery stores one batch after the other, which share their memory.
func (r *records) delivery() spool.Deliver {
	var memory usage.Batch
	return func(ctx context.Context, token string, batch [][]byte) error {
		memory.Reset()
		return r.deliver(ctx, token, batch, &memory)
	}
}

func (r *records) deliver(ctx context.Context, token string, batch [][]byte, memory *usage.Batch) error {
	requests := make([]*usage.Record, 0, len(batch))
	var feedback []*usage.Feedback
	var told [][]byte
	for _, data := range batch {
		record, said, err := memory.Decode(data)
		switch {
		case err != nil:
			return spool.Refused{Err: err}
		case record != nil:
			requests = append(requests, record)
		default:
			feedback = append(feedback, said)
		}
		if r.stream != nil {
			told = append(told, bare(record, data))
		}
	}
	err := r.store.Write(ctx, token, requests, feedback)
	if errors.Is(err, store.ErrRefused) {
		return spool.Refused{Err: err}
	}
	if err != nil {
		if ctx.Err() == nil {
			proxy.UsageStoreUp.Set(0)
		}
		return err
	}
	proxy.UsageStoreUp.Set(1)
	return r.stream.add(told)
}

// close ends both, once the last records are stored, or ctx is done: then they stay in the spool.
func (r *records) close(ctx context.Context) error {
	if r == nil {
		return nil
	}
	if r.quit != nil {
		r.quit()
	}
	r.ended.Wait()
	errs := []error{r.spools.close(ctx), r.stream.close(ctx)}
	if r.store != nil {
		errs = append(errs, r.store.Close())
	}
	if r.stale != nil {
		r.stale.close()
	}
	if r.temp != "" {
		errs = append(errs, os.RemoveAll(r.temp), os.RemoveAll(r.temp+"-stream"))
	}
	return errors.Join(errs...)
}

// check tells what is wrong with the section.
func (u *Usage) check(s *Stores) error {
	var errs []error
	if u.Max < 1<<20 {
		errs = append(errs, errors.New("usage.max: at least 1MiB"))
	}
	for name, d := range map[string]time.Duration{"sync": u.Sync, "keep.records": u.Keep.Records, "keep.contents": u.Keep.Contents} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("usage.%s: must be more than 0", name))
		}
	}
	if _, ok := whenFull[s.OnError.Usage]; !ok {
		errs = append(errs, fmt.Errorf("stores.on_error.usage: unknown choice %q (choices: %s)", s.OnError.Usage, strings.Join(slices.Sorted(maps.Keys(whenFull)), ", ")))
	}
	if err := store.Check(s.Usage); err != nil {
		errs = append(errs, fmt.Errorf("stores.usage: %w", err))
	}
	switch _, err := stream.New(u.Stream, u.StreamSecret); {
	case u.Stream.Reveal() != "" && err != nil:
		errs = append(errs, fmt.Errorf("usage.stream: %w", err))
	case u.Stream.Reveal() == "" && u.StreamSecret.Reveal() != "":
		errs = append(errs, errors.New("usage.stream_secret: it is for stream, which is not set"))
	}
	return errors.Join(errs...)
}
