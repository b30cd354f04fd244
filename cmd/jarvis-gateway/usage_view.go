package main

import (
	"context"
	"net/url"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/usage/store"
)

// usageView answers callers of the data plane from the store of usage.
type usageView struct{ *store.Store }

func (v usageView) Show(ctx context.Context, query url.Values, sees policy.Sight) (body []byte, kind string, err error) {
	return v.Store.Show(ctx, query, store.Scope(sees), time.Now())
}
