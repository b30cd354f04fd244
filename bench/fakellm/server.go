// Package fakellm simulates LLM providers over real HTTP, for tests and measurements: it answers deterministically, counts what it
// bills, remembers what it saw, fails on request, and notices at once when its peer leaves.
//
// How a request is answered is a Plan, chosen by a function, by default, or over the wire by the model name:
//
//	fake                                           a good answer
//	fake-echo                                      the question as the answer
//	gpt-5?status=429&retry_after=2                 OpenAI's own 429
//	claude?thinking=hm&text=yes&fault=error-mid&fault_as=529
//	fake?tokens=50&size=1024&delay=100ms&event_delay=5ms
//	fake?fault=cut&stall_after=3                   see Fault for the names
//	unknown-...                                    the provider's 404
//
// Where the model is in the path, as in Bedrock's, the whole name is escaped there. Claude's thoughts carry a signature that is checked
// when they come back.
//
// Tools are called when the last user message holds "call:" or tool_choice demands it, or when the plan says so. GET /_fake/stats, GET /_fake/log and
// POST /_fake/reset are the simulation's own.
package fakellm

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Kind names the provider that is simulated.
type Kind string

// The providers that can be simulated.
const (
	OpenAI    Kind = "openai"
	Azure     Kind = "azure"
	VLLM      Kind = "vllm"
	Anthropic Kind = "anthropic"
	Bedrock   Kind = "bedrock"
)

// Options of a server. The zero value is a good OpenAI on a free port of the loopback.
type Options struct {
	Addr   string // host:port to listen on, 127.0.0.1:0 when empty
	Kind   Kind   // OpenAI when empty
	TLS    bool   // serve HTTPS with a certificate of its own, see Server.CA
	APIKey string // any other key gets the provider's real 401 (Bedrock, whose bearer token it is: 403); empty: no key is asked for

	AWS          Credentials // Bedrock only: requests must be signed with these, unless they bear APIKey; empty: none is asked for
	BedrockModel string      // Bedrock only: path of AWS's service-2.json, whose shapes requests are checked against; empty: they are not

	// Models are the names served; others get the provider's real 404 (Bedrock: 400). Empty: every name but those that begin with "unknown".
	Models []string

	Plan    func(*Seen) Plan // decides per request; nil: always Default. Called on the connection's goroutine.
	Default Plan

	Quiet      bool // keep no log of requests, only counters: Seen, Wait and WaitDone have nothing then
	LogBodies  bool // keep request bodies in the log
	Lenient    bool // let unknown top-level request fields pass; all but vLLM refuse them
	FlatErrors bool // vLLM only: the older error shape {"object":"error",...}

	MaxRunning   int // answers generated at a time, the others wait their turn (vLLM's max_num_seqs); 0: no bound
	PrefixBlocks int // size of a prefix cache in blocks of 64 bytes, the beginnings of chats that need no computing again; 0: none

	Clock func() time.Time // for created fields and for the age of signatures; nil: a fixed moment, and the real time
}

// Server is one simulated provider. All methods may be called at any time from any goroutine.
type Server struct {
	o       Options
	dialect dialect
	http    fasthttp.Server
	ln      *listener
	ca      []byte
	served  chan struct{} // closed when the accept loop has ended
	once    sync.Once

	watcher   *watcher
	log       journal
	counters  counters
	engine    engine
	responses store
	shapes    *shapes // of AWS's requests; nil: not checked
	planner   atomic.Pointer[func(*Seen) Plan]
}

// Start listens and serves until Close. It fails when the address cannot be had or the kind is unknown.
func Start(o Options) (*Server, error) {
	if o.Kind == "" {
		o.Kind = OpenAI
	}
	s := &Server{o: o, served: make(chan struct{})}
	var err error
	if s.dialect, err = dialectOf(o.Kind); err != nil {
		return nil, err
	}
	if s.shapes, err = loadShapes(o.BedrockModel); err != nil {
		return nil, err
	}
	if s.watcher, err = newWatcher(); err != nil {
		return nil, err
	}
	if s.ln, err = listen(o.Addr); err != nil {
		return nil, errors.Join(err, s.watcher.close())
	}
	s.log.init()
	s.engine.init(o)
	s.SetPlan(o.Plan)
	return s, s.serveOn(s.ln)
}

func (s *Server) serveOn(ln net.Listener) error {
	if s.o.TLS {
		cert, ca, err := selfSigned()
		if err != nil {
			return errors.Join(err, s.ln.Close(), s.watcher.close())
		}
		s.ca = ca
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	}
	s.http = fasthttp.Server{
		Handler:                       s.serve,
		Logger:                        log.New(io.Discard, "", 0),
		MaxRequestBodySize:            256 << 20,
		ReadBufferSize:                16 << 10,
		WriteBufferSize:               8 << 10,
		DisableHeaderNamesNormalizing: true,
		DisablePreParseMultipartForm:  true,
		NoDefaultServerHeader:         true,
	}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(ln) // ends with the listener; there is nobody to tell
	}()
	return nil
}

// URL is the base address without a trailing slash, such as http://127.0.0.1:4117. Paths as in the provider's documentation go after it.
func (s *Server) URL() string {
	if s.o.TLS {
		return "https://" + s.ln.addr
	}
	return "http://" + s.ln.addr
}

// CA is the PEM of the certificate to trust, nil without TLS.
func (s *Server) CA() []byte { return s.ca }

// SetPlan replaces Options.Plan for the requests to come; nil means Options.Default again.
func (s *Server) SetPlan(plan func(*Seen) Plan) {
	if plan == nil {
		s.planner.Store(nil)
		return
	}
	s.planner.Store(&plan)
}

// Refuse with true closes the listening port and every connection, so that connecting is refused; with false it listens on the same
// port again, which fails when another process took it meanwhile.
func (s *Server) Refuse(refuse bool) error {
	if !refuse {
		return s.ln.reopen()
	}
	return s.ln.shut()
}

// Close stops listening, cuts every connection and waits for the requests in flight to end.
func (s *Server) Close() {
	s.once.Do(func() {
		_ = s.ln.Close() // the port is gone either way
		<-s.served
		s.ln.drain()
		_ = s.watcher.close()
	})
}

func (s *Server) now() time.Time {
	if s.o.Clock != nil {
		return s.o.Clock()
	}
	return time.Unix(1755133833, 0)
}
