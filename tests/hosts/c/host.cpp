// The header from C++: included twice, its functions linked by their C names.
#include "cs_backup.h"
#include "cs_backup.h"

#include <cstdint>
#include <cstdio>
#include <memory>
#include <type_traits>

static_assert(std::is_same<csb_status, std::int32_t>::value, "a status is 32 bits wide");
static_assert(CSB_STATUS_OK == 0 && CSB_REPORT_JSON == 0 && CSB_REPORT_HTML == 1, "numbers of the ABI never change");

struct Free {
    void operator()(csb_service *service) const { csb_service_free(service); }
    void operator()(char *string) const { csb_string_free(string); }
};

int main()
{
    csb_service *service = nullptr;
    char *error = nullptr;
    if (csb_abi_version() != CSB_ABI_VERSION || csb_service_open("{}", &service, &error) != CSB_STATUS_OK) {
        return 1;
    }
    std::unique_ptr<csb_service, Free> owned(service);
    char *reply = nullptr;
    csb_status status = csb_service_request(owned.get(), "{\"request\": \"getPools\"}", &reply, &error);
    std::unique_ptr<char, Free> owned_error(error);
    std::printf("%s\n", csb_status_name(status));
    return status != CSB_STATUS_OK && reply == nullptr && owned_error ? 0 : 1;
}
