package proxy

import (
	"context"
	"net/url"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/wire"
)

// UsageView answers what was used and what it cost: GET /v1/usage. It is set before the server serves; nil: nobody knows.
type UsageView interface {
	// Show answers the question in the parameters of a URL, for one who may see so much. kind is the answer's media type.
	Show(ctx context.Context, query url.Values, sees policy.Sight) (body []byte, kind string, err error)
}

// usageTime is how long a question may take.
const usageTime = 30 * time.Second

var getUsage = &endpoint{name: "usage.get", needs: policy.ChatRead, run: (*Gateway).showUsage}

// showUsage shows a caller his own part: of a super admin's key that is his tenant's too, as this is not the private port.
func (g *Gateway) showUsage(x *exchange) error {
	view := x.conn.server.Usage
	if view == nil {
		return &wire.Error{Status: 404, Type: wire.TypeInvalid, Code: "usage_off", Message: "This gateway keeps no usage."}
	}
	query, err := url.ParseQuery(string(x.ctx.QueryArgs().QueryString()))
	if err != nil {
		return wire.Invalid("", "The parameters of the URL cannot be read.")
	}
	sees := x.caller.Sees()
	if sees.Tenant == "" {
		sees.Tenant = x.caller.Tenant
	}
	ctx, cancel := context.WithTimeout(context.Background(), usageTime)
	defer cancel()
	body, kind, err := view.Show(ctx, query, sees)
	if err != nil {
		return err
	}
	x.answer(body)
	x.reply.ContentType = []byte(kind)
	return nil
}
