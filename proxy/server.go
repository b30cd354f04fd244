package proxy

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/usage/spool"
	"jarvis-gateway/proxy/wire"
)

// Server is the listening side of the data plane. It outlives configs: a reload swaps the Gateway behind it.
type Server struct {
	cfg      Config
	current  atomic.Pointer[Gateway]
	http     *fasthttp.Server
	gone     *watcher
	access   *AccessLog
	log      *slog.Logger
	draining atomic.Bool
	state    *state.Store
	shadows  shadows
	spool    *spool.Log    // nil: nothing is recorded
	lost     atomic.Int64  // the second when a lost record was last told of
	slack    time.Duration // by how much a deadline of a client may come early
	Ratings  Ratings
	Usage    UsageView
}

// NewServer makes the server of a first Gateway. Each request becomes one line in log's handler's format, JSON, on
// access. store is where the gateway keeps its own state, records what takes what requests used: nil, nobody does. Shutdown ends what NewServer began.
func NewServer(cfg Config, g *Gateway, store *state.Store, records *spool.Log, log *slog.Logger, access *AccessLog) (*Server, error) {
	cfg = cfg.withDefaults()
	gone, err := newWatcher()
	if err != nil {
		return nil, fmt.Errorf("watching for clients that leave: %w", err)
	}
	s := &Server{cfg: cfg, log: log, access: access, gone: gone, state: store, spool: records,
		slack: min(cfg.Timeout.Header, cfg.Timeout.Body, cfg.Timeout.Idle) / 8, Ratings: Ratings{served: newServed()}}
	s.Swap(g)
	s.state.Overdue(s.recordOverdue)
	s.http = &fasthttp.Server{
		Handler:                      s.serve,
		ErrorHandler:                 s.refuse,
		HeaderReceived:               s.bodyTime,
		ExpectHandler:                s.expect,
		Logger:                       serverLog{log},
		ReadTimeout:                  cfg.Timeout.Header,
		IdleTimeout:                  cfg.Timeout.Idle,
		MaxRequestBodySize:           int(cfg.MaxBody),
		ReadBufferSize:               8 << 10, // bounds the headers of a request
		NoDefaultServerHeader:        true,
		NoDefaultDate:                true,
		NoDefaultContentType:         true,
		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true, // no header, and so no key, in a log line
		LazyRequestTime:              true, // nobody asks for it
		Concurrency:                  1 << 20,
	}
	return s, nil
}

// Swap puts a Gateway made from a new config in the place of the one before. Requests under way stay with theirs.
func (s *Server) Swap(g *Gateway) {
	s.current.Store(g)
	routing.Store(g.Router)
	limiting.Store(g.Gate)
	caching.Store(g.Cache)
	flowsNow.swap(g.Flows)
}

// Serve accepts connections until Shutdown.
func (s *Server) Serve(ln net.Listener) error {
	return s.http.Serve(&listener{Listener: ln, server: s})
}

// Ready tells why no requests should be sent here, nil when they may.
func (s *Server) Ready() error {
	if s.draining.Load() {
		return errDraining
	}
	return s.current.Load().ready()
}

// settling is how long a draining server goes on accepting, so that load balancers see /readyz and clients with open
// connections are told to close them, before idle connections are cut.
const settling = time.Second

// Shutdown stops the server without losing what it has accepted: it answers on every connection with Connection: close,
// stops accepting, and waits for requests and streams to end until ctx is done. Then it ends the rest with an error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	select {
	case <-time.After(settling):
	case <-ctx.Done():
	}
	last, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		s.log.Warn("ending the requests that did not finish in time", "open", s.http.GetOpenConnectionsCount())
		s.gone.fireAll()
		time.AfterFunc(settling, cancel)
	})
	defer stop()
	err := s.http.ShutdownWithContext(last)
	if err != nil { // requests that were called off may not have settled yet, and what they cost counts
		settled(2 * settling)
	}
	s.gone.Close()
	s.shadows.close()
	s.state.Overdue(nil)
	return err
}

// settled waits until no request is under way, for so long at most.
func settled(most time.Duration) {
	for end := time.Now().Add(most); inFlight.Load() > 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
}

var errStranger = &wire.Error{Status: 401, Type: wire.TypeInvalid, Code: "invalid_api_key", Final: true, Message: "A key that works is needed to send a request of this size."}

// smallBody is what may be read of a request before it is known whose it is.
const smallBody = 64 << 10

// stranger is why a request whose key does not work is refused, nil for one whose key does: nobody makes the gateway hold a
// large body without one.
func (s *Server) stranger(h *fasthttp.RequestHeader) *wire.Error {
	_, err := s.current.Load().Gate.Identify(key(h), time.Now())
	switch {
	case err == nil:
		return nil
	case fault(err).Status == fasthttp.StatusUnauthorized:
		return errStranger
	}
	return fault(err) // the gateway cannot tell
}

// expect answers Expect: 100-continue: a body that would be refused is not asked for.
func (s *Server) expect(ctx *fasthttp.RequestCtx) int {
	_, err := s.current.Load().Gate.Identify(key(&ctx.Request.Header), time.Now())
	if err == nil {
		return fasthttp.StatusContinue
	}
	e := fault(err)
	refusals.WithLabelValues(e.Reason()).Inc()
	answerError(ctx, e)
	ctx.Conn().(*conn).closing.Store(true)
	ctx.Conn().(*conn).linger = true
	return e.Status
}

// bodyTime gives a request with a large body the time that it needs at 64 KiB a second. Small ones come within the time
// for the headers.
func (s *Server) bodyTime(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	length := h.ContentLength()
	if length >= 0 && length <= smallBody {
		return fasthttp.RequestConfig{}
	}
	if s.stranger(h) != nil {
		return fasthttp.RequestConfig{MaxRequestBodySize: smallBody}
	}
	if length < 0 {
		length = int(s.cfg.MaxBody)
	}
	perSecond := time.Duration(min(int64(length), int64(s.cfg.MaxBody))>>16) * time.Second
	return fasthttp.RequestConfig{ReadTimeout: s.cfg.Timeout.Body + perSecond}
}

// refuse answers what is not even a request: too large, too slow, malformed.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, err error) {
	c := ctx.Conn().(*conn)
	c.closing.Store(true)
	if !c.heard { // it was opened ahead of use: an answer now would be taken for that of its first request
		_ = c.Close() // what fasthttp writes then goes nowhere
		return
	}
	c.linger = true
	failure := badRequest(err)
	if h := &ctx.Request.Header; failure.Status == 413 && len(h.Host()) > 0 { // headers may be lost by now
		failure = cmp.Or(s.stranger(h), failure)
	}
	refusals.WithLabelValues(failure.Reason()).Inc()
	ctx.Response.Reset()
	answerError(ctx, failure)
}

// answerError answers a request that never became an exchange.
func answerError(ctx *fasthttp.RequestCtx, e *wire.Error) {
	kind, id := wire.Plain, appendID(nil)
	if ep := posts[string(ctx.Path())]; ep != nil {
		kind = ep.kind
	}
	writeError(&ctx.Response, kind, e, id)
	ctx.Response.Header.SetCanonical(headerRequestID, id)
}

// serverLog takes fasthttp's own messages: about connections, and of no use but for debugging.
type serverLog struct{ *slog.Logger }

func (l serverLog) Printf(format string, args ...any) {
	l.Debug("connection", "message", fmt.Sprintf(format, args...))
}

func badRequest(err error) *wire.Error {
	switch {
	case err == fasthttp.ErrBodyTooLarge:
		return &wire.Error{Status: 413, Type: wire.TypeInvalid, Code: "request_too_large", Message: "The request's body is too large."}
	case isTimeout(err):
		return &wire.Error{Status: 408, Type: wire.TypeInvalid, Code: "request_timeout", Message: "The request did not arrive in time."}
	case isSmallBuffer(err):
		return &wire.Error{Status: 431, Type: wire.TypeInvalid, Code: "headers_too_large", Message: "The request's headers are too large."}
	}
	return wire.Invalid("", "This is not a valid HTTP request.")
}
