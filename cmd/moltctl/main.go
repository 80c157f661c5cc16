// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Command moltctl is molt's command line. It talks to the daemon's control socket and touches nothing else.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := app().Run(ctx, os.Args)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "moltctl: %v\n", err)
	}
	os.Exit(exitCode(err))
}
