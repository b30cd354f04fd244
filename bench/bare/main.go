// bare is the simplest correct reverse proxy that fasthttp allows. It adds nothing: no key, no JSON, no metrics.
// What the gateway costs is stated relative to it, measured in the same round.
package main

import (
	"bytes"
	"flag"
	"log"

	"github.com/valyala/fasthttp"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8090", "listen here")
	upstream := flag.String("upstream", "127.0.0.1:8091", "host:port to pass everything to")
	flag.Parse()
	log.Fatal(server(*upstream).ListenAndServe(*addr))
}

// server passes bytes through as they come: no header of its own, names and paths not normalised.
// Buffers are fasthttp's defaults (4 KiB), which decide the memory of an open stream.
func server(upstream string) *fasthttp.Server {
	p := &proxy{plain: client(upstream, false), stream: client(upstream, true)}
	return &fasthttp.Server{
		Handler:                       p.serve,
		MaxRequestBodySize:            32 << 20,
		DisableHeaderNamesNormalizing: true,
		NoDefaultServerHeader:         true,
		NoDefaultDate:                 true,
		NoDefaultContentType:          true,
	}
}

func client(addr string, stream bool) *fasthttp.HostClient {
	return &fasthttp.HostClient{
		Addr:                          addr,
		MaxConns:                      20000,
		StreamResponseBody:            stream,
		DisableHeaderNamesNormalizing: true,
		DisablePathNormalizing:        true,
		NoDefaultUserAgentHeader:      true,
	}
}

// proxy has two clients because only one that streams hands out bytes before the reply is complete,
// and only one that does not can put a whole reply into a single write.
type proxy struct{ plain, stream *fasthttp.HostClient }

var wantsStream = []byte(`"stream":true`)

// serve relays a stream by pull: the upstream's body is the response's body stream, and each Read becomes one flushed chunk.
func (p *proxy) serve(ctx *fasthttp.RequestCtx) {
	c := p.plain
	stream := bytes.Contains(ctx.Request.Body(), wantsStream)
	if stream {
		c = p.stream
	}
	ctx.Request.Header.Del("Connection")
	if err := c.Do(&ctx.Request, &ctx.Response); err != nil {
		ctx.Error(err.Error(), fasthttp.StatusBadGateway)
		return
	}
	ctx.Response.Header.Del("Connection")
	ctx.Response.ImmediateHeaderFlush = stream
}
