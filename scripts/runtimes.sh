# Native libraries as packages carry them: runtimes/<rid>/native/. Sourced by the scripts that make packages.

# library_name RID: how the library's file is called there.
library_name() {
    case $1 in
        win-*) echo cs_backup.dll ;;
        osx-*) echo libcs_backup.dylib ;;
        linux-*) echo libcs_backup.so ;;
        *) echo "package: \"$1\" is not a runtime id such as linux-x64" >&2; return 1 ;;
    esac
}

own_runtime() {
    local system=linux processor=x64
    [[ $(uname -s) == Darwin ]] && system=osx
    case $(uname -m) in aarch64 | arm64) processor=arm64 ;; esac
    echo "$system-$processor"
}

# stage_runtimes FOLDER [RID=LIBRARY]…: copies each library to its place; without any, this machine's release build.
stage_runtimes() {
    local folder=$1 pair runtime name
    shift
    if [[ $# -eq 0 ]]; then
        runtime=$(own_runtime)
        set -- "$runtime=$(dirname "${BASH_SOURCE[0]}")/../target/release/$(library_name "$runtime")"
    fi
    for pair in "$@"; do
        runtime=${pair%%=*}
        name=$(library_name "$runtime") || return 1
        mkdir -p "$folder/$runtime/native"
        cp "${pair#*=}" "$folder/$runtime/native/$name"
    done
}
