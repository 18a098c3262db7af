#!/bin/sh
# The local runtime's server process: start | stop | status | logs | running. Its pid is in .lab/server.pid, its log in .lab/server.log.
. scripts/error.sh
running() {
    [ -s .lab/server.pid ] && pid=$(cat .lab/server.pid) && case $(ps -ww -p "$pid" -o command= 2>/dev/null) in
    *"-m server"* | *uvicorn*) return 0 ;; # and not another process that got the number
    *) return 1 ;;
    esac
}
case $1 in
start)
    nohup "$VENV/bin/python" -m server >.lab/server.log 2>&1 </dev/null &
    echo $! >.lab/server.pid
    ;;
stop)
    if running; then
        kill "$pid"
        tenths=0
        while running; do
            tenths=$((tenths + 1))
            [ $tenths -le 50 ] || kill -9 "$pid"
            sleep 0.1
        done
    fi
    rm -f .lab/server.pid .lab/server.config
    ;;
status)
    if running; then echo "server: running, pid $pid"; cut -d' ' -f1-3 .lab/server.config
    else echo "server: not running"; fi
    ;;
logs)
    [ -e .lab/server.log ] || error "there is no log" "the server was never started" "make up RUNTIME=local"
    cat .lab/server.log
    ;;
running) running ;;
esac
