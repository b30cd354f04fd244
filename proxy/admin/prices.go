package admin

import (
	"net/http"

	"jarvis-gateway/proxy/wire"
)

// mostPriced is how many models one question may name.
const mostPriced = 100

// listPrices shows what models cost, and where each price comes from.
func listPrices(c *call) error {
	models := c.r.URL.Query()["model"]
	if len(models) > mostPriced {
		return wire.Invalid("model", "model: %d models are named, and %d may be.", len(models), mostPriced)
	}
	version, list := c.Prices(models)
	write(c.w, http.StatusOK, view{"object": "list", "version": version, "data": list})
	return nil
}
