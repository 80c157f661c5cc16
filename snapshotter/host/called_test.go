// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
)

// TestCalledByClient: containers go by the names that people know from their client.
func TestCalledByClient(t *testing.T) {
	kubernetes := map[string]string{podNamespace: "team", podName: "web-0", containerName: "app"}
	for want, c := range map[string]containers.Container{
		"":               {ID: "c", Labels: kubernetes}, // no record of CRI
		"web":            {ID: "c", Labels: map[string]string{nerdctlName: "web"}},
		"team/web-0/app": {ID: "c", Labels: kubernetes, Extensions: extension(extensionContainer, "{}")},
	} {
		if got := calledByClient(c); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
