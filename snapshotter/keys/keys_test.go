// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/opencontainers/go-digest"
)

func TestParseKey(t *testing.T) {
	chain := digest.FromString("layer").String()
	unpack := fmt.Sprintf(snapshots.UnpackKeyFormat, "123456789-AbC_", chain)
	for key, want := range map[string]struct {
		namespace, own    string
		extraction, layer bool
		container         string
	}{
		"default/7/web":                          {namespace: "default", own: "web", container: "web"},
		"default/7/extract-h7x":                  {namespace: "default", own: "extract-h7x", container: "extract-h7x"},
		"default/7/extract-1-AbC_":               {namespace: "default", own: "extract-1-AbC_"},
		"default/7/extract-1-AbCd":               {namespace: "default", own: "extract-1-AbCd", container: "extract-1-AbCd"},
		"default/7/" + unpack:                    {namespace: "default", own: unpack, extraction: true},
		"default/7/extract-1 layer":              {namespace: "default", own: "extract-1 layer"},
		"default/7/extract- " + chain:            {namespace: "default", own: "extract- " + chain},
		"default/7/" + unpack + " ":              {namespace: "default", own: unpack + " "},
		"default/7/x" + unpack:                   {namespace: "default", own: "x" + unpack},
		"default/7/" + chain:                     {namespace: "default", own: chain, layer: true},
		"default/7/" + chain[:len(chain)-1]:      {namespace: "default", own: chain[:len(chain)-1]},
		"default/7/sha256:mine":                  {namespace: "default", own: "sha256:mine"},
		"default/7/1-AbC_-" + chain:              {namespace: "default", own: "1-AbC_-" + chain},
		"default/7/a/b":                          {namespace: "default", own: "a/b"},
		"default/07/web":                         {own: "default/07/web"},
		"default/-7/web":                         {own: "default/-7/web"},
		"default/99999999999999999999/web":       {own: "default/99999999999999999999/web"},
		"/7/web":                                 {own: "/7/web"},
		"default//web":                           {own: "default//web"},
		"web":                                    {own: "web", container: "web"},
		"":                                       {},
		"default/18446744073709551615/web.1-2_3": {namespace: "default", own: "web.1-2_3", container: "web.1-2_3"},
	} {
		k := Parse(key)
		if k.Namespace != want.namespace || k.Key != want.own || k.Extraction() != want.extraction ||
			Unpacking(key) != want.extraction || (k.Origin() != "") != want.layer || Container(key) != want.container {
			t.Errorf("%q is read as %+v, extraction %t, origin %q, container %q; want %+v", key, k, k.Extraction(), k.Origin(), Container(key), want)
		}
	}
}

// FuzzParseKey: nothing is lost of a key, and no key is at once a container's, that of a layer, and that of an
// unpacking.
func FuzzParseKey(f *testing.F) {
	chain := digest.FromString("layer").String()
	for _, own := range []string{"web", "extract-h7x", chain, fmt.Sprintf(snapshots.UnpackKeyFormat, "1-AbC_", chain), "a/b", " "} {
		f.Add("default", uint64(7), own)
	}
	f.Fuzz(func(t *testing.T, namespace string, sequence uint64, own string) {
		if k := Parse(own); k.Namespace != "" && !strings.HasPrefix(own, k.Namespace+"/") || !strings.HasSuffix(own, k.Key) {
			t.Errorf("%q is read as %+v", own, k)
		}
		if identifiers.Validate(namespace) != nil {
			return
		}
		key := fmt.Sprintf("%s/%d/%s", namespace, sequence, own) // as containerd's metadata store does
		k := Parse(key)
		if k != (Key{namespace, own}) {
			t.Errorf("%q is read as %+v", key, k)
		}
		kinds := 0
		for _, is := range []bool{k.Extraction(), k.Origin() != "", Container(key) != ""} {
			if is {
				kinds++
			}
		}
		if kinds > 1 {
			t.Errorf("%q is of %d kinds", key, kinds)
		}
		if unpack := fmt.Sprintf(snapshots.UnpackKeyFormat, own, digest.FromString(own)); own != "" && !strings.Contains(own, " ") &&
			!Parse(namespace+"/1/"+unpack).Extraction() {
			t.Errorf("%q is not taken for an unpacking", unpack)
		}
	})
}
