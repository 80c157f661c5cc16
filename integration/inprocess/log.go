// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package inprocess

import (
	"strings"
	"sync"
	"testing"

	"github.com/containerd/log"
)

// Log is what was logged. It is safe for concurrent use.
type Log struct {
	mu  sync.Mutex
	all strings.Builder
}

// GatherLog keeps what is logged until the end of a test, which then has the output and the level of the log as they
// were: what is done in the background tells of its errors nowhere else.
func GatherLog(t testing.TB) *Log {
	t.Helper()
	l, logger := new(Log), log.L.Logger
	out, level := logger.Out, logger.GetLevel()
	logger.SetOutput(l)
	t.Cleanup(func() {
		logger.SetOutput(out)
		logger.SetLevel(level)
	})
	return l
}

// Write takes what is logged.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

// String returns what was logged so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}
