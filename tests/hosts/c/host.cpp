// A host in C++: the header included twice, its functions linked by their C names, everything owned: host EMPTY_FOLDER
#include "cs_backup.h"
#include "cs_backup.h"
#include "hold.h"

#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

static_assert(std::is_same<csb_status, std::int32_t>::value, "a status is 32 bits wide");
static_assert(CSB_STATUS_OK == 0 && CSB_STATUS_PANIC == 4 && CSB_REPORT_JSON == 0 && CSB_REPORT_HTML == 1,
              "numbers of the ABI never change");

namespace {

struct Free {
    void operator()(csb_service *service) const { csb_service_free(service); }
    void operator()(char *string) const { csb_string_free(string); }
};
using Text = std::unique_ptr<char, Free>;

constexpr std::uint32_t slice_ms = 100, shutdown_ms = 10000;

// Takes the outputs of a call over; throws what a failed one says. The call writes them before this is entered, because they
// are read here by their addresses.
std::string taken(csb_status status, char **output, char **error)
{
    Text owned(*output), said(*error);
    if (status != CSB_STATUS_OK) {
        throw std::runtime_error(std::string(csb_status_name(status)) + (said ? said.get() : ""));
    }
    return owned ? owned.get() : "";
}

class Service {
public:
    explicit Service(const std::string &config)
    {
        csb_service *service = nullptr;
        char *error = nullptr, *none = nullptr;
        taken(csb_service_open(config.c_str(), &service, &error), &none, &error);
        handle.reset(service);
    }
    ~Service() { csb_service_shutdown(handle.get(), shutdown_ms, nullptr); }
    Service(const Service &) = delete;
    Service &operator=(const Service &) = delete;

    std::string request(const std::string &document) const
    {
        char *reply = nullptr, *error = nullptr;
        return taken(csb_service_request(handle.get(), document.c_str(), &reply, &error), &reply, &error);
    }

    // Runs a backup to its end and returns its report; where it is to be cancelled, as soon as its first step begins.
    std::string backup(const std::string &pool, bool cancelled) const
    {
        std::uint64_t job = 0, seen = 0;
        char *error = nullptr, *none = nullptr;
        const std::string document = "{\"poolFqdn\": \"" + pool + "\"}";
        taken(csb_backup_start(handle.get(), document.c_str(), &job, &error), &none, &error);
        for (bool ended = false; !ended;) {
            char *events = nullptr;
            const std::string told = taken(csb_job_poll(handle.get(), job, seen, slice_ms, &events, &error), &events, &error);
            const std::string_view last = "\"lastSeq\":";
            seen = std::stoull(told.substr(told.find(last) + last.size()));
            ended = told.find("\"event\":\"finished\"") != std::string::npos;
            if (cancelled && told.find("\"event\":\"stepStarted\"") != std::string::npos) {
                taken(csb_job_cancel(handle.get(), job, &error), &none, &error);
            }
        }
        char *report = nullptr;
        const std::string text = taken(csb_job_report(handle.get(), job, CSB_REPORT_JSON, &report, &error), &report, &error);
        taken(csb_job_release(handle.get(), job, &error), &none, &error);
        return text;
    }

private:
    std::unique_ptr<csb_service, Free> handle;
};

// What a call is refused as; "" where it succeeds.
template <typename Call> std::string refusal(Call call)
{
    try {
        call();
        return "";
    } catch (const std::runtime_error &failure) {
        return failure.what();
    }
}

int passed = 0, failed = 0;

void check(bool holds, const char *what)
{
    std::printf("%-7s %s\n", holds ? "ok" : "FAILED", what);
    ++(holds ? passed : failed);
}

bool has(const std::string &text, std::string_view part) { return text.find(part) != std::string::npos; }

} // namespace

int main(int count, char **arguments)
{
    if (count != 2 || csb_abi_version() != CSB_ABI_VERSION) {
        std::fprintf(stderr, "usage: %s EMPTY_FOLDER\n", arguments[0]);
        return 2;
    }
    const std::string folder = arguments[1], atl = "atl-cs-001.litwareinc.com", chi = "chi-cs-001.litwareinc.com";
    {
        const Service unconnected("{}");
        check(has(refusal([&] { unconnected.request("{\"request\": \"getPools\"}"); }), "NotConnected"), "a request without a deployment");
        unconnected.request("{\"request\": \"createSampleDeployment\", \"folder\": \"" + folder + "\", \"users\": 200, \"files\": 100}");
    }
    const Service service("{\"deploymentFile\": \"" + folder + "/deployment.toml\"}");
    check(has(service.backup(atl, false), "\"outcome\":\"Succeeded\""), "a backup succeeds");
    const holder held = hold((folder + "/chi/users.sqlite").c_str());
    check(has(service.backup(chi, true), "\"outcome\":\"Cancelled\""), "a backup that is cancelled says so");
    let_go(held);
    check(has(service.backup("nowhere.litwareinc.com", false), "\"kind\":\"UnknownPool\""), "an unknown pool");
    check(has(refusal([&] { service.request("\xff"); }), "InvalidUtf8"), "bytes that are not UTF-8");
    check(has(refusal([&] { service.request(std::string(1000000, '[')); }), "InvalidRequest"), "a million brackets");

    std::vector<std::thread> threads;
    std::vector<std::string> replies(16);
    for (auto &reply : replies) {
        threads.emplace_back([&] { reply = service.request("{\"request\": \"getPools\"}"); });
    }
    for (auto &thread : threads) {
        thread.join();
    }
    bool all = true;
    for (const auto &reply : replies) {
        all = all && has(reply, atl) && has(reply, chi);
    }
    check(all, "sixteen threads ask at once");
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
