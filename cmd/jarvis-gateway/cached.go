package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"jarvis-gateway/proxy/cache"
)

// purge has cached answers be forgotten, and tells whether all gateways that share the cache know.
func (s *live) purge(tenant, model string) (n int, everywhere bool) {
	n, err := s.cache.Purge(cache.Scope{Tenant: tenant, Model: model})
	if err != nil {
		s.log.Warn("the shared cache does not know yet what was purged; it is told as soon as it answers", "tenant", tenant, "model", model, "cause", err.Error())
	}
	return n, err == nil
}

func cacheCommand() *cobra.Command {
	return clientCommand("cache", "Have cached answers be forgotten", func(k *client) []*cobra.Command {
		return []*cobra.Command{k.purgeCache()}
	})
}

func (k *client) purgeCache() *cobra.Command {
	var model, tenant string
	c := &cobra.Command{
		Use: "purge", Short: "Forget cached answers", Args: cobra.NoArgs,
		Long: "Forget cached answers: all, or those of a model and of a tenant.\n\nThe gateway that answers forgets them at once, all that share its cache over Redis within a second.",
		RunE: func(c *cobra.Command, _ []string) error {
			query := url.Values{}
			for name, value := range map[string]string{"model": model, "tenant": tenant} {
				if value != "" {
					query.Set(name, value)
				}
			}
			answer, err := k.call(c.Context(), http.MethodDelete, "/cache?"+query.Encode(), nil)
			if err != nil || k.json {
				return firstError(err, func() error { return printJSON(c.OutOrStdout(), answer) })
			}
			text := fmt.Sprintf("%d answers are forgotten.\n", answer.Get("purged").Int())
			if !answer.Get("everywhere").Bool() {
				text += "Redis does not answer: other gateways forget theirs once it does.\n"
			}
			_, err = fmt.Fprint(c.OutOrStdout(), text)
			return err
		},
	}
	c.Flags().StringVar(&model, "model", "", "only those of an entry of `MODELS`")
	c.Flags().StringVar(&tenant, "tenant", "", "only those of a `TENANT`")
	return c
}
