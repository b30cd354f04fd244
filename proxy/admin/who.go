package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/wire"
)

// who is someone who asks.
type who struct {
	name   string         // admin_key, local, or a key: acme/backend
	caller *policy.Caller // nil: the gateway's owner, who may do everything
}

func (w *who) super() bool { return w.caller == nil || w.caller.Super() }

func (w *who) may(p policy.Permission) bool { return w.caller == nil || w.caller.May(p) }

func (w *who) mayIn(tenant string, p policy.Permission) bool {
	return w.caller == nil || w.caller.MayIn(tenant, p)
}

// role is the role's name, and tenant whose key it is, "" for the gateway's own.
func (w *who) role() string {
	if w.caller == nil {
		return policy.SuperAdmin
	}
	return w.caller.Role
}

func (w *who) tenant() string {
	if w.caller == nil {
		return ""
	}
	return w.caller.Tenant
}

// team is the team whose keys alone he may touch, "" for those of his whole tenant.
func (w *who) team() string {
	if w.super() {
		return ""
	}
	return w.caller.Team
}

// who finds out who asks. Without an admin key, whoever reaches a loopback address is the owner, unless a key says less.
func (s *Server) who(r *http.Request) (*who, error) {
	token := bearer(r)
	if token == "" && s.Key == "" {
		return &who{name: "local"}, fromHere(r)
	}
	if s.Key != "" && same(token, s.Key.Reveal()) {
		return &who{name: "admin_key"}, nil
	}
	if token != "" {
		if caller, err := s.Gate().Identify([]byte(token), s.Now()); err == nil {
			return &who{caller.Tenant + "/" + caller.Key, caller}, nil
		}
	}
	return &who{}, &wire.Error{Status: 401, Type: wire.TypeInvalid, Code: "invalid_api_key", Final: true,
		Message: "Send the admin key, or a key whose role may do this, as Authorization: Bearer KEY."}
}

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// same compares digests, so that the time tells neither the key's length nor its bytes.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// forwarded are headers of proxies, which send on over loopback what others asked them for.
var forwarded = []string{"Forwarded", "Via", "X-Real-Ip", "X-Forwarded-"}

// fromHere refuses what does not come from this machine, or by way of a proxy on it, and what a page in the user's browser
// could send: it may point a name of its own at this address (then Host is foreign), or send across sites (then Origin is).
// Both would come over loopback like the user.
func fromHere(r *http.Request) error {
	const remedy = " Set server.admin_key, and send it, to allow others."
	if !loopback(r.RemoteAddr) || !loopback(r.Host) {
		return denied("", "The gateway answers here without a key, so only to this machine, and to Host: localhost or a loopback address."+remedy)
	}
	for name := range r.Header {
		if slices.ContainsFunc(forwarded, func(known string) bool {
			return name == known || strings.HasSuffix(known, "-") && strings.HasPrefix(name, known)
		}) {
			return denied("", "The gateway answers here without a key, so not by way of a proxy: the request carries "+name+"."+remedy)
		}
	}
	for _, origin := range r.Header.Values("Origin") {
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
			return denied("", "The gateway answers here without a key, so not to pages of other origins."+remedy)
		}
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		return denied("", "The gateway answers here without a key, so not to pages of other sites."+remedy)
	}
	return nil
}

// loopback tells whether an address, or a Host header, is this machine's own.
func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") || ip != nil && ip.IsLoopback()
}
