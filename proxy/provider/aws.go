package provider

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/smithy-go/logging"

	"jarvis-gateway/proxy/wire"
)

const (
	// renewAhead is how long before their end credentials are renewed, behind the requests' backs.
	renewAhead = 5 * time.Minute
	// loadTime bounds one search for credentials; a credential_process may ask a slow server.
	loadTime = 30 * time.Second
	// maxBackoff bounds the pauses within a search. The first request waits for them, and searches are repeated anyway.
	maxBackoff = 300 * time.Millisecond
	// restAfterLoad is the time between two searches when the first one failed.
	restAfterLoad = 5 * time.Second
	// rememberFailure is how long requests are answered with a failure, while new searches go on in the background.
	rememberFailure = 30 * time.Second
	// doubtAfter is how old credentials must be for a refusal to mean that there are newer ones.
	doubtAfter = 30 * time.Second
	// graceOfInstance is how long an instance's credentials are used on when their end came and no new ones did: AWS's own
	// libraries do the same, and AWS extends them when its metadata service fails.
	graceOfInstance = 10 * time.Minute
)

// awsCredentials finds credentials and keeps them fresh. All but the first request get them without waiting: they are
// renewed ahead of their end by one goroutine, which requests start when it is time.
type awsCredentials struct {
	load func(context.Context) (aws.Credentials, error)
	now  func() time.Time
	held atomic.Pointer[heldCredentials]
	rest atomic.Int64 // unix nanoseconds until which no search is begun ahead of need

	mu       sync.Mutex
	flight   chan struct{} // closed when the search under way ends; nil: there is none
	failure  error         // of the last search
	failedAt time.Time
	ctx      context.Context // of searches
	stop     context.CancelFunc
}

type heldCredentials struct {
	aws.Credentials
	since, renew, until time.Time // found; due for renewal; to be used until. The last two are zero if they do not expire.
}

func newAWSCredentials(load func(context.Context) (aws.Credentials, error)) *awsCredentials {
	a := &awsCredentials{load: load, now: time.Now}
	a.ctx, a.stop = context.WithCancel(context.Background())
	return a
}

// Close calls off a search under way and waits for its end.
func (a *awsCredentials) Close() {
	a.stop()
	a.mu.Lock()
	flight := a.flight
	a.mu.Unlock()
	if flight != nil {
		<-flight
	}
}

// get gives credentials that are good now. An error is a *wire.Error, or that of ctx.
func (a *awsCredentials) get(ctx context.Context) (*aws.Credentials, error) {
	for {
		if creds := a.ready(); creds != nil {
			return creds, nil
		}
		flight, err := a.search()
		if err != nil {
			return nil, err
		}
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// ready gives the credentials at hand, nil if there are none.
func (a *awsCredentials) ready() *aws.Credentials {
	h, now := a.held.Load(), a.now()
	switch {
	case h == nil || !h.until.IsZero() && !now.Before(h.until):
		return nil
	case !h.renew.IsZero() && !now.Before(h.renew) && now.UnixNano() >= a.rest.Load():
		a.mu.Lock()
		a.begin(now)
		a.mu.Unlock()
	}
	return &h.Credentials
}

// search begins a search, or joins the one under way. While a failure is fresh, requests do not wait: they get it.
func (a *awsCredentials) search() (flight chan struct{}, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if a.failure != nil && now.Sub(a.failedAt) < restAfterLoad {
		return nil, a.failure
	}
	a.begin(now)
	if a.failure != nil && now.Sub(a.failedAt) < rememberFailure {
		return nil, a.failure
	}
	return a.flight, nil
}

// begin starts a search unless there is one. The lock is held.
func (a *awsCredentials) begin(now time.Time) {
	if a.flight != nil {
		return
	}
	a.rest.Store(now.Add(loadTime).UnixNano())
	a.flight = make(chan struct{})
	go a.fly()
}

func (a *awsCredentials) fly() {
	ctx, cancel := context.WithTimeout(a.ctx, loadTime)
	defer cancel()
	creds, err := a.load(ctx)
	if err == nil && !creds.HasKeys() {
		err = errors.New("the credentials found have no key")
	}
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failure = nil; err == nil {
		a.held.Store(hold(creds, now))
		a.rest.Store(now.Add(restAfterLoad).UnixNano())
	} else {
		refused := authRefused(fmt.Errorf("credentials: %s", hideTokens([]byte(err.Error()))))
		refused.Key = true
		a.failure, a.failedAt = refused, now
		a.rest.Store(now.Add(restAfterLoad).UnixNano())
		a.extend(now)
	}
	close(a.flight)
	a.flight = nil
}

// hold plans how long to use credentials, and when to renew them: a little before their end, not all processes at once.
func hold(creds aws.Credentials, now time.Time) *heldCredentials {
	h := &heldCredentials{Credentials: creds, since: now}
	if creds.CanExpire {
		life := creds.Expires.Sub(now)
		h.renew = creds.Expires.Add(-min(renewAhead+rand.N(time.Minute), life/3))
		h.until = creds.Expires
		if life < restAfterLoad { // just given out, so they are good, whatever this machine's clock thinks
			h.until = now.Add(restAfterLoad)
		}
	}
	return h
}

// extend gives an instance's credentials, which could not be renewed, more time.
func (a *awsCredentials) extend(now time.Time) {
	if h := a.held.Load(); h != nil && h.Source == ec2rolecreds.ProviderName && h.until.Before(now.Add(graceOfInstance)) {
		longer := *h
		longer.until = now.Add(graceOfInstance)
		a.held.Store(&longer)
	}
}

// refused takes note that AWS did not accept the credentials: the next request gets new ones. Those just found are kept,
// lest credentials that never work be searched for with every request.
func (a *awsCredentials) refused() {
	if h := a.held.Load(); h != nil && a.now().Sub(h.since) >= doubtAfter {
		a.held.CompareAndSwap(h, nil)
	}
}

// awsChain finds credentials where AWS's own programs do: in the environment, in the configuration files, in a web
// identity, at the container's or the instance's metadata service. Each search begins anew, so that it sees files that
// changed.
func awsChain(profile, region string) func(context.Context) (aws.Credentials, error) {
	return func(ctx context.Context) (aws.Credentials, error) {
		cfg, err := loadAWS(ctx, profile, config.WithRegion(region))
		if err != nil {
			return aws.Credentials{}, err
		}
		return cfg.Credentials.Retrieve(ctx)
	}
}

func loadAWS(ctx context.Context, profile string, options ...func(*config.LoadOptions) error) (aws.Config, error) {
	options = append(options, config.WithLogger(logging.Nop{}),
		config.WithRetryer(func() aws.Retryer { return retry.AddWithMaxBackoffDelay(retry.NewStandard(), maxBackoff) }),
		config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 0 })) // the true end is wanted
	if profile != "" {
		options = append(options, config.WithSharedConfigProfile(profile))
	}
	return config.LoadDefaultConfig(ctx, options...)
}

// awsRegion is the region that the environment or the profile names, "" if there is none.
func awsRegion(profile string) (string, error) {
	cfg, err := loadAWS(context.Background(), profile, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	if err != nil {
		return "", fmt.Errorf("profile: %s", hideTokens([]byte(err.Error())))
	}
	return cfg.Region, nil
}

// awsTokens matches what not even the log may hold of AWS's error texts: access keys, and the session token, which an error
// about a signature repeats.
var awsTokens = regexp.MustCompile(`(?i:x-amz-security-token:)\s*(?:[^\s"\\]|\\/)+|\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b`)

func hideTokens(text []byte) []byte { return awsTokens.ReplaceAll(text, []byte(hidden)) }

// awsAccount matches names of resources and account ids, which are the operator's business.
var awsAccount = regexp.MustCompile(`\barn:aws[a-z-]*:[^\s"'<>\\)\],;]+|\b\d{12}\b`)

// hideAccount is for texts that clients see.
func hideAccount(text []byte) []byte { return awsAccount.ReplaceAll(hideTokens(text), []byte(hidden)) }

// authRefused is the failure to be let in by the provider: the operator's to mend.
func authRefused(cause error) *wire.Error {
	e := wire.Server(502, "upstream_auth", "The model provider refused the gateway's credentials.", cause)
	e.Failover = true
	return e
}
