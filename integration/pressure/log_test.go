// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"strings"
	"sync"
	"testing"

	"github.com/containerd/log"
)

// logged gathers what is logged until the end of the test: what is done in the background tells of its errors nowhere else.
type logged struct {
	mu  sync.Mutex
	all strings.Builder
}

func gatherLog(t *testing.T) *logged {
	t.Helper()
	l, logger := new(logged), log.L.Logger
	out := logger.Out
	logger.SetOutput(l)
	t.Cleanup(func() { logger.SetOutput(out) })
	return l
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}
