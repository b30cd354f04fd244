package provider

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/wire"
)

// copyHeaders gives the client's headers to the provider, save those of the connection (RFC 9110, 7.6.1), all kinds of
// credentials, what would tell one party of the other, what trace has in its place, and unless messages is set those of Anthropic's
// dialect. Names are in canonical form: the server normalises them.
func copyHeaders(dst, src *fasthttp.RequestHeader, credential []byte, messages bool, trace *Trace) {
	named := src.PeekAll(fasthttp.HeaderConnection)
	for k, v := range src.All() {
		if keepsToItself(k) || namedIn(named, k) || trace.replaces(k) || !messages && bytes.HasPrefix(k, anthropicPrefix) {
			continue
		}
		if len(credential) > 0 && len(v) >= len(credential) && bytes.Contains(v, credential) {
			continue // the gateway's key in a header of another name is still a credential
		}
		dst.AddBytesKV(k, v)
	}
}

// keepsToItself lists what no client header may bring to a provider.
func keepsToItself(name []byte) bool {
	switch string(name) {
	case "Host", "Content-Length", "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect", "Accept-Encoding",
		"Authorization", "X-Api-Key", "Api-Key", "Cookie", "X-Goog-Api-Key", "Ocp-Apim-Subscription-Key", "X-Auth-Token", "X-Access-Token",
		"Openai-Organization", "Openai-Project", "Forwarded", "Via", "X-Real-Ip", "True-Client-Ip", "X-Client-Ip", "X-Request-Id", "Origin", "Referer",
		"Content-Encoding", "Baggage", "Http2-Settings", "X-Http-Method-Override", "X-Original-Url", "X-Rewrite-Url":
		return true
	}
	if bytes.IndexByte(name, '_') >= 0 {
		return true // many servers read X_Api_Key as X-Api-Key
	}
	if len(name) < 4 {
		return false
	}
	switch name[0] {
	case 'X':
		return bytes.HasPrefix(name, xJarvis) || bytes.HasPrefix(name, xForwarded) || bytes.HasPrefix(name, xAmz) || bytes.HasPrefix(name, xMs)
	case 'P':
		return bytes.HasPrefix(name, proxyPrefix)
	case 'S':
		return bytes.HasPrefix(name, secPrefix)
	case 'C':
		return bytes.HasPrefix(name, cfPrefix)
	}
	return false
}

var (
	xJarvis     = []byte("X-Jarvis-")
	xForwarded  = []byte("X-Forwarded-")
	xAmz        = []byte("X-Amz")
	xMs         = []byte("X-Ms-")
	proxyPrefix = []byte("Proxy-")

	anthropicPrefix = []byte("Anthropic-")

	secPrefix = []byte("Sec-")
	cfPrefix  = []byte("Cf-")
)

// namedIn tells whether a Connection header declares this one to be of the connection only.
func namedIn(connection [][]byte, name []byte) bool {
	for _, list := range connection {
		for len(list) > 0 {
			var one []byte
			one, list, _ = bytes.Cut(list, []byte{','})
			if bytes.EqualFold(bytes.TrimSpace(one), name) {
				return true
			}
		}
	}
	return false
}

// shown are the provider's headers that a client may see, besides the content type. All others stay behind: rate limits
// and account names of the gateway's own account, cookies, server names.
func shown(name []byte) bool {
	switch string(name) {
	case "Content-Disposition", "Content-Language", "Openai-Processing-Ms", "Openai-Version", "Openai-Model":
		return true
	}
	return false
}

func visible(dst []wire.Field, head *fasthttp.ResponseHeader) []wire.Field {
	for k, v := range head.All() {
		if shown(k) {
			dst = append(dst, wire.Field{Name: k, Value: v})
		}
	}
	return dst
}
