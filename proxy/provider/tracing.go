package provider

import (
	"strings"

	"github.com/valyala/fasthttp"
)

// Trace is a call's place in the trace of its request: what the provider is told of it, and what is learnt on the way. The caller
// makes it; a call without one goes on with what the client said of his trace.
type Trace struct {
	Parent []byte // the traceparent; empty: the provider is told nothing
	State  bool   // the client's tracestate belongs to it

	Address string // where the provider is, host:port, as far as it was tried to reach it
	Status  int    // of its answer, 0 where there was none
}

// replaces tells that a header of the client's does not go on.
func (t *Trace) replaces(name []byte) bool {
	if t == nil {
		return false
	}
	switch string(name) {
	case "Traceparent":
		return true
	case "Tracestate":
		return !t.State || len(t.Parent) == 0
	}
	return false
}

// tell writes the call's own place in the trace, where the client's was not copied.
func (t *Trace) tell(h *fasthttp.RequestHeader) {
	if t != nil && len(t.Parent) > 0 {
		h.SetCanonical(headerTraceparent, t.Parent)
	}
}

var headerTraceparent = []byte("Traceparent")

// reached takes note of an attempt to reach the provider.
func (t *Trace) reached(h *host, res *response, err error) {
	if t == nil {
		return
	}
	if t.Address, t.Status = h.pool.Addr, 0; err == nil {
		t.Status = res.head.StatusCode()
	}
}

// Own tells a server of the gateway's owner from a vendor's cloud.
func (c *Client) Own() bool {
	switch c.cfg.Kind {
	case "vllm", "simulated":
		return true
	case "openai":
		return !strings.HasSuffix("."+c.host.base.Hostname(), ".openai.com")
	}
	return false
}
